"""Replacing concepts on diffusers: detection at a picture's first call, the edit in every cross-attention layer.

Like the rest of the reference path this shares with the host's patch nothing but `saeuron.edits`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..edits.call import Call, Row
from ..edits.cross_attention import KeysValues, keys_values
from ..edits.masks import resize
from ..edits.replace import Replacement, detect, replace_tokens, token_mask, touched_tokens
from ..edits.where import row_weights
from ..sae.files import LoadedSAE
from ..sae.model import read_tokens
from .models import DiffusersModel
from .sampling import UNet
from .tracing import Reader, Stop


@dataclass(frozen=True, eq=False)
class ReferenceReplacement:
    """A replacement with its two texts, which the model's own encoder reads."""

    replacement: Replacement
    concept: str
    """What is not to be drawn, as a prompt: "a cat"."""
    instead: str
    """What is to stand there: "a dog"."""


class Decision(NamedTuple):
    """What a replacement found in a picture, and where it therefore acts."""

    share: float
    """Of the picture's tokens that are marked, 0 to 1."""

    mask: Tensor | None
    """Weights of the hookpoint's tokens, float32 [h, w], before the strength; None where the picture is left alone."""

    strength: float


Watch = Callable[[ReferenceReplacement, int, Decision], None]
"""Told of every decision: the replacement, the place of the picture, what was decided."""


class ReplacingRun:
    """What `replacements` do to one batch of pictures; what was decided about a picture is kept for all of the run."""

    def __init__(
        self,
        model: DiffusersModel,
        loaded: LoadedSAE,
        hookpoint: str,
        latent_size: tuple[int, int],
        replacements: Sequence[ReferenceReplacement],
        watch: Watch,
    ) -> None:
        acting = [own for own in replacements if own.replacement.strength]
        self._replacing = [_Replacing(own, model, loaded, latent_size, watch) for own in acting]
        self._hookpoint = hookpoint
        self._layers = [name for name, _ in model.unet.named_modules() if name.endswith(".attn2")]

    def predict(self, call: Call, unet: UNet, reader: Reader) -> Tensor:
        """What the UNet predicts in `call` with the replacements, and with `reader` at the hookpoint.

        The first time that a picture is seen the UNet runs unedited as far as the hookpoint, and only if a gate opens
        it is run again.
        """
        waiting = [own for own in self._replacing if own.undecided(call)]
        if waiting:
            try:
                return self._run(call, unet, partial(_detect, waiting, call, reader))
            except Stop:
                pass
        return self._run(call, unet, reader)

    def _run(self, call: Call, unet: UNet, reader: Reader) -> Tensor:
        acting = [own for own in self._replacing if own.acts(call)]
        layers = self._layers if acting else ()
        return unet({self._hookpoint: reader, **{path: partial(_replace, acting, path, call) for path in layers}})


def _detect(
    waiting: Sequence[_Replacing], call: Call, reader: Reader, block_input: Tensor, block_output: Tensor
) -> Tensor | None:
    # All of them decide, whether or not the first has opened a gate.
    if any([own.decide(call, block_input, block_output) for own in waiting]):
        raise Stop
    return reader(block_input, block_output)


def _replace(acting: Sequence[_Replacing], path: str, call: Call, x: Tensor, output: Tensor) -> Tensor:
    for own in acting:
        output = own.replace(path, call, x, output)
    return output


class _Replacing:
    """One replacement in one run."""

    def __init__(
        self,
        own: ReferenceReplacement,
        model: DiffusersModel,
        loaded: LoadedSAE,
        latent_size: tuple[int, int],
        watch: Watch,
    ) -> None:
        self._own, self._unet, self._loaded, self._latent_size = own, model.unet, loaded, latent_size
        self._watch = partial(watch, own)
        self._texts = model.encode([own.instead, own.concept])[0].split(1)
        self._keys_values: dict[str, list[KeysValues]] = {}
        self._decisions: dict[Row, Decision] = {}

    def _rows(self, call: Call) -> Sequence[int]:
        return self._own.replacement.when.rows(call)

    def undecided(self, call: Call) -> list[int]:
        return [row for row in self._rows(call) if call.rows[row] not in self._decisions]

    def acts(self, call: Call) -> bool:
        return any(self._mask(call, row) is not None for row in self._rows(call))

    def _mask(self, call: Call, row: int) -> Tensor | None:
        decision = self._decisions.get(call.rows[row])
        return None if decision is None else decision.mask

    def decide(self, call: Call, block_input: Tensor, block_output: Tensor) -> bool:
        """Decide about the undecided rows; whether there is something to do to one of them."""
        rows, replacement = self.undecided(call), self._own.replacement
        tokens = read_tokens(self._loaded.identity.kind, block_input[rows], block_output[rows])
        found = detect(replacement, self._loaded.sae.encode(tokens), call.sigma)
        height, width = tokens.shape[1:3]
        limits = row_weights(replacement.region, call, rows, height, width, tokens.device)
        masks = token_mask(replacement, found, limits)
        for row, share, mask in zip(rows, found.share.tolist(), masks, strict=True):
            decision = Decision(share, mask if mask.any() else None, replacement.strength_at(call.sigma))
            self._decisions[call.rows[row]] = decision
            self._watch(call.picture(row), decision)
        return bool(masks.any())

    def replace(self, path: str, call: Call, x: Tensor, output: Tensor) -> Tensor:
        """The output [B, t, d] of the cross-attention layer at `path`, whose input is `x` [B, t, d]."""
        height, width = self._map_size(path)
        weights = torch.zeros(len(x), height, width, device=x.device)
        for row in self._rows(call):
            decision = self._decisions.get(call.rows[row])
            if decision is not None and decision.mask is not None:
                weights[row] = decision.strength * resize(decision.mask[None], height, width)[0]
        touched = touched_tokens(weights)
        if touched is None:
            return output
        attn = self._unet.get_submodule(path)
        if path not in self._keys_values:
            self._keys_values[path] = [keys_values(attn, text.to(x)) for text in self._texts]
        return replace_tokens(attn, x, output, touched, *self._keys_values[path])

    def _map_size(self, path: str) -> tuple[int, int]:
        """Of the layer: each level of the UNet has half the height and width of the one above, rounded up."""
        height, width = self._latent_size
        for _ in range(_level(path, len(self._unet.config.block_out_channels) - 1)):
            height, width = (height + 1) // 2, (width + 1) // 2
        return height, width


def _level(path: str, deepest: int) -> int:
    """How deep in the UNet the block is that `path` leads into, 0 for the latent's own size."""
    stage, number, *_ = path.split(".")
    if stage == "mid_block":
        return deepest
    return int(number) if stage == "down_blocks" else deepest - int(number)
