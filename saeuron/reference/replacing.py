"""Replacing concepts on diffusers: detection at a picture's first call, the edit in every cross-attention layer.

Like the rest of the reference path this shares with the host's patch nothing but `saeuron.edits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..edits.call import Call, Row
from ..edits.cross_attention import KeysValues, keys_values
from ..edits.masks import resize
from ..edits.replace import (
    Detection,
    Replacement,
    detect,
    may_change,
    replace_tokens,
    see,
    token_mask,
    touched_tokens,
)
from ..edits.where import row_weights
from ..sae.files import LoadedSAE
from ..sae.model import SparseCodes, read_tokens
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

    free: Tensor
    """What may change if the picture is drawn a second time, float32 [h, w] (`may_change`)."""

    found: bool
    """Whether the first call opened the gate."""


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
        detecting = partial(_detect, self._replacing, call, reader)
        try:
            return self._run(call, unet, detecting)
        except Stop:
            return self._run(call, unet, detecting)

    @property
    def looks_first(self) -> bool:
        return any(own.looks_first for own in self._replacing)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Meanwhile what is to look first only looks, and is not told of: the last call says where it will act."""
        several = [own for own in self._replacing if own.looks_first]
        for own in several:
            own.looking = True
        yield
        for own in several:
            own.stop_looking()

    def may_change(self, latents: Tensor) -> Tensor:
        """bool [B, 1, h, w]: what of the pictures [B, 4, h, w] that were seen is to be drawn again."""
        free = torch.zeros_like(latents[:, :1], dtype=torch.bool)
        for own in self._replacing:
            if own.looks_first:
                for picture, own_free in own.free():
                    free[picture] |= resize(own_free[None], *latents.shape[-2:]) > 0
        return free

    def _run(self, call: Call, unet: UNet, reader: Reader) -> Tensor:
        acting = [own for own in self._replacing if own.acts(call)]
        layers = self._layers if acting else ()
        return unet({self._hookpoint: reader, **{path: partial(_replace, acting, path, call) for path in layers}})


def _detect(
    replacing: Sequence[_Replacing], call: Call, reader: Reader, block_input: Tensor, block_output: Tensor
) -> Tensor | None:
    # All of them look, whether or not the first has opened a gate.
    if any([own.look(call, block_input, block_output) for own in replacing]):
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
        self.looking = False
        self._texts = model.encode([own.instead, own.concept])[0].split(1)
        self._keys_values: dict[str, list[KeysValues]] = {}
        self._decisions: dict[Row, Decision] = {}

    def _rows(self, call: Call) -> Sequence[int]:
        return self._own.replacement.when.rows(call)

    @property
    def looks_first(self) -> bool:
        return self._own.replacement.look_first

    def stop_looking(self) -> None:
        self.looking = False
        for row, decision in self._decisions.items():
            self._tell(row, decision)

    def free(self) -> list[tuple[int, Tensor]]:
        """Pictures whose gate opened, and what may change of them, float32 [h, w]."""
        opened = {row.picture: decision.free for row, decision in self._decisions.items() if decision.mask is not None}
        return [(picture, free) for picture, free in opened.items() if picture is not None]

    def acts(self, call: Call) -> bool:
        return not self.looking and any(self._mask(call, row) is not None for row in self._rows(call))

    def _mask(self, call: Call, row: int) -> Tensor | None:
        decision = self._decisions.get(call.rows[row])
        return None if decision is None else decision.mask

    def look(self, call: Call, block_input: Tensor, block_output: Tensor) -> bool:
        """Decide about the undecided rows; whether there is something to do to one of them now."""
        rows = [row for row in self._rows(call) if call.rows[row] not in self._decisions]
        if self.looking:
            self._see(call, block_input, block_output)
        return bool(rows) and self._decide(call, rows, block_input, block_output) and not self.looking

    def _decide(self, call: Call, rows: list[int], block_input: Tensor, block_output: Tensor) -> bool:
        """Whether there is something to do to one of `rows`."""
        replacement = self._own.replacement
        found = detect(replacement, self._codes(rows, block_input, block_output), call.sigma)
        limits = self._limits(call, rows, found)
        masks, strength = token_mask(replacement, found, limits), replacement.strength_at(call.sigma)
        for row, share, mask, free in zip(rows, found.share.tolist(), masks, may_change(masks, limits), strict=True):
            decision = Decision(share, mask if mask.any() else None, strength, free, bool(mask.any()))
            self._decisions[call.rows[row]] = decision
            if not self.looking:
                self._tell(call.rows[row], decision)
        return bool(masks.any())

    def _see(self, call: Call, block_input: Tensor, block_output: Tensor) -> None:
        """What is replaced, and where, is what this call says."""
        rows = [row for row in self._rows(call) if call.rows[row] in self._decisions]
        if not rows:
            return
        before = [self._decisions[call.rows[row]] for row in rows]
        found = torch.tensor([own.found for own in before], device=block_output.device)
        detection = see(self._own.replacement, self._codes(rows, block_input, block_output), call.sigma, found)
        limits = self._limits(call, rows, detection)
        masks = token_mask(self._own.replacement, detection, limits)
        for row, own, share, mask, free in zip(
            rows, before, detection.share.tolist(), masks, may_change(masks, limits), strict=True
        ):
            if not own.found:
                self._decisions[call.rows[row]] = own._replace(
                    share=share, mask=mask if mask.any() else None, free=free
                )
            elif mask.any():
                self._decisions[call.rows[row]] = own._replace(mask=mask, free=free)

    def _codes(self, rows: list[int], block_input: Tensor, block_output: Tensor) -> SparseCodes:
        tokens = read_tokens(self._loaded.identity.kind, block_input[rows], block_output[rows])
        return self._loaded.sae.encode(tokens)

    def _limits(self, call: Call, rows: list[int], found: Detection) -> Tensor | None:
        height, width = found.marks.shape[1:]
        return row_weights(self._own.replacement.region, call, rows, height, width, found.marks.device)

    def _tell(self, row: Row, decision: Decision) -> None:
        if row.picture is not None:
            self._watch(row.picture, decision)

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
