"""The difference of what a cross-attention layer answers to two texts, for some of its tokens.

Works on any layer with ``to_q``, ``to_k``, ``to_v``, ``to_out`` (whose first part is the linear layer) and ``heads``:
ComfyUI's ``CrossAttention`` and diffusers' ``Attention`` of Stable Diffusion UNets are such.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class KeysValues(NamedTuple):
    """What a layer makes of a text, the same at every step of a run."""

    keys: Tensor
    """[1, heads, s, e]: s the text's tokens, e the width of a head."""

    values: Tensor
    """[1, heads, s, e]."""


def keys_values(attn: Any, context: Tensor) -> KeysValues:
    """Keys and values of a text [1, s, c] in the layer `attn`."""
    return KeysValues(_by_head(attn, attn.to_k(context)), _by_head(attn, attn.to_v(context)))


def attention_difference(attn: Any, x: Tensor, a: KeysValues, c: KeysValues) -> Tensor:
    """``attn(x, A) - attn(x, C)`` for the tokens `x` [m, d] of any pictures, normed as the layer gets them; [m, d].

    The tokens of a cross-attention don't see each other, so those of several pictures are one sequence. The two texts
    may differ in length. One ``to_q``, two attentions, one ``to_out``: it is linear but for its bias.
    """
    q = _by_head(attn, attn.to_q(x.unsqueeze(0)))
    answers = [F.scaled_dot_product_attention(q, text.keys.to(q), text.values.to(q)) for text in (a, c)]
    difference = (answers[0] - answers[1]).transpose(1, 2).flatten(2)  # [1, heads, m, e] -> [1, m, heads e]
    # The layer's answer to zeros is its bias, whatever the host has put on it: weights may be offloaded, cast, patched.
    with_zeros = torch.cat([difference, torch.zeros_like(difference[:, :1])], 1)
    out: Tensor = attn.to_out[0](with_zeros)[0]
    return out[:-1] - out[-1:]


def _by_head(attn: Any, projected: Tensor) -> Tensor:
    """[1, t, heads e] -> [1, heads, t, e]."""
    split: Tensor = projected.unflatten(-1, (attn.heads, -1))
    return split.transpose(1, 2)
