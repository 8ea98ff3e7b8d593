"""Normalized Attention Guidance (Chen et al., "Normalized Attention Guidance: Universal Negative Guidance for Diffusion
Models", arXiv 2505.21179, section 3, equations 7 to 10).

In every cross-attention layer, with Z+ what it answers to the prompt and Z- what it answers to the negative prompt,

    Z~ = Z+ + phi (Z+ - Z-)                                                             (extrapolation)
    R = |Z~|_1 / |Z+|_1 for every token                                                 (ratio)
    Z^ = min(R, tau) / R  Z~                                                            (normalisation)
    Z = alpha Z^ + (1 - alpha) Z+                                                       (refinement)

The answers are those of all heads side by side, before the layer's last projection. Works at cfg 1: the negative prompt
has no half of its own. Tau 2.5 and alpha 0.5 are those of the authors' SDXL examples; phi is one of those that are
tried. The pooled text is the prompt's: the paper leaves it alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..treatment import Edit, Parts
from .casteer import positive_rows

TAU, ALPHA = 2.5, 0.5


def guided(positive: Tensor, negative: Tensor, phi: float, tau: float = TAU, alpha: float = ALPHA) -> Tensor:
    """The four equations on answers [..., tokens, d]; the L1 norm is over d."""
    extrapolated = positive + phi * (positive - negative)
    smallest = torch.finfo(positive.dtype).tiny
    ratio = extrapolated.abs().sum(-1, keepdim=True) / positive.abs().sum(-1, keepdim=True).clamp(min=smallest)
    normalised = ratio.clamp(max=tau) / ratio.clamp(min=smallest) * extrapolated
    return alpha * normalised + (1 - alpha) * positive


class Guidance:
    """Two of the host's patches: one puts the negative prompt behind the prompt, so that the layer makes keys and
    values of both with whatever is on its weights; the other takes them apart and answers to each.
    """

    def __init__(self, negative: Tensor, phi: float) -> None:
        self._negative, self._phi = negative, phi

    def append(self, x: Tensor, context: Tensor, value: Tensor, options: dict[str, Any]) -> tuple[Tensor, ...]:
        """``attn2_patch``: texts [b, s, c] -> [b, s + n, c]."""
        behind = self._negative.to(context).expand(len(context), -1, -1)
        return x, torch.cat([context, behind], 1), torch.cat([value, behind], 1)

    def answer(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """``attn2`` replacement: queries [b, t, d], keys and values [b, s + n, d] -> [b, t, d]."""
        from comfy.ldm.modules.attention import optimized_attention

        heads, own = options["n_heads"], k.shape[1] - self._negative.shape[1]
        positive = optimized_attention(q, k[:, :own], v[:, :own], heads)
        rows = positive_rows(q, options)
        negative = optimized_attention(q[rows], k[rows, own:], v[rows, own:], heads)
        edited = guided(positive[rows].float(), negative.float(), self._phi).to(positive.dtype)
        if len(rows) == len(positive):
            return edited
        result = positive.clone()
        result[rows] = edited
        return result


def nag(negative: str, phi: float) -> Edit:
    """With phi 0 the MODEL is left as it is."""

    def on(parts: Parts) -> Any:
        model, clip, _ = parts
        model = model.clone()
        if phi:
            ((text, _),) = clip.encode_from_tokens_scheduled(clip.tokenize(negative))
            guidance = Guidance(text, phi)
            model.set_model_attn2_patch(guidance.append)
            for block, number in cross_attention_blocks(model):
                model.set_model_attn2_replace(guidance.answer, block, number)
        return model

    return Edit({"nag": negative, "phi": phi, "tau": TAU, "alpha": ALPHA}, on)


def cross_attention_blocks(model: Any) -> list[tuple[str, int]]:
    """The host's names of the blocks of a UNet that have cross-attention: ("output", 1)."""
    unet = model.get_model_object("diffusion_model")
    groups = {"input": unet.input_blocks, "middle": [unet.middle_block], "output": unet.output_blocks}
    return [
        (name, number)
        for name, blocks in groups.items()
        for number, block in enumerate(blocks)
        if any(module.endswith("attn2") for module, _ in block.named_modules())
    ]
