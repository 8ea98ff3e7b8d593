"""Where replacements acted in the runs of a MODEL, told apart by the latents that came out of each."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...saeuron.edits.masks import resize
from ...saeuron.errors import SaeuronError

if TYPE_CHECKING:
    from .replacing import Part, ReplacementPatch

    Masks = Mapping[Part, Tensor | None]
    """Weights [h, w] of the hookpoint's map; None where the gate was closed."""

PIXELS = 8
"""Of a picture, in each direction, for one of its latents."""

RUNS_KEPT = 200
"""Of each patch, the last ones: a few kilobytes each."""

_RUNS: weakref.WeakKeyDictionary[ReplacementPatch, dict[str, Masks]] = weakref.WeakKeyDictionary()


def keep_masks(patch: ReplacementPatch, latents: Tensor, masks: Masks) -> None:
    """Remember what `patch` did in the run that `latents` [B, 4, h, w] came out of."""
    runs = _RUNS.setdefault(patch, {})
    key = _fingerprint(latents)
    runs.pop(key, None)
    runs[key] = {part: None if weights is None else weights.cpu() for part, weights in masks.items()}
    while len(runs) > RUNS_KEPT:
        del runs[next(iter(runs))]


def masks_of_last_run(patch: ReplacementPatch) -> Masks:
    """Empty before the first run."""
    runs = _RUNS.get(patch)
    return runs[next(reversed(runs))] if runs else {}


def united_masks(patches: Sequence[ReplacementPatch], latents: Tensor) -> Tensor:
    """Where any of `patches` acted on each picture, in its pixels: float32 [B, 8h, 8w] for `latents` [B, 4, h, w].

    1 where a concept was replaced, 0 where nothing was, between them where a mask fades.

    Errors: `SaeuronError` if `latents` did not come out of a run with all of `patches`.
    """
    key = _fingerprint(latents)
    runs = [_RUNS.get(patch, {}) for patch in patches]
    if not any(runs):
        raise SaeuronError(
            "Nothing was drawn with this MODEL yet. Connect the MODEL that the sampler uses, and the LATENT that the "
            "sampler gives."
        )
    if not all(key in own for own in runs):
        raise SaeuronError(
            "These latents are not what a sampler gave with this MODEL. Connect the sampler's own LATENT, before "
            "anything else is done to it, and the MODEL that this sampler uses."
        )
    return unite([own[key] for own in runs], latents, PIXELS)


def unite(masks: Sequence[Masks], latents: Tensor, scale: int = 1) -> Tensor:
    """Where any of `masks` has weights on each picture: float32 [B, scale h, scale w] for `latents` [B, 4, h, w]."""
    pictures, _, height, width = latents.shape
    united = torch.zeros(pictures, height * scale, width * scale)
    for own in masks:
        for part, weights in own.items():
            if weights is not None:
                _unite(united[part.picture], part, weights.cpu(), scale)
    return united


def _unite(mask: Tensor, part: Part, weights: Tensor, scale: int) -> None:
    """Put `weights` where `part` belongs in its picture's `mask` [H, W], in place."""
    if part.area is not None:
        top, left, height, width = (scale * side for side in part.area[:4])
        mask = mask[top : top + height, left : left + width]
    torch.maximum(mask, resize(weights[None], *mask.shape)[0], out=mask)


def _fingerprint(latents: Tensor) -> str:
    """The same for the latents of a run wherever the host moves them, and in half precision."""
    rounded = latents.detach().half().cpu().contiguous()
    return hashlib.sha256(f"{list(rounded.shape)}".encode() + rounded.numpy().tobytes()).hexdigest()
