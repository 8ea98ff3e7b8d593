"""Edits on a MODEL: any number of chained ones, one wrapper, one encode per hookpoint and SAE."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...saeuron.edits.intervention import Intervention, intervene
from ...saeuron.edits.steering import Steering, steer
from .hook import (
    KEY,
    RUN,
    HookedUNet,
    Preview,
    Reader,
    WatchedRun,
    current_sigma,
    current_step,
    halves_of_rows,
    pictures_of_rows,
)
from .sockets import HostedSAE
from .unet import Site


@dataclass(frozen=True)
class Patch:
    """One edit, where it acts and with which SAE, and the node that shows what it did."""

    site: Site
    sae: HostedSAE
    edit: Intervention | Steering
    preview: Preview | None = None

    @property
    def group(self) -> Hashable:
        """Patches of the same group are applied as one."""
        how = self.edit.mode if isinstance(self.edit, Intervention) else "steering"
        # By what the SAE is: without the host's cache, two Load SAE of one file give two objects.
        sae = self.sae.identity if self.sae.identity.sha256 else id(self.sae.module)
        return self.site, sae, how


def add_patch(model: Any, patch: Patch) -> Any:
    """A clone of `model` (the host's MODEL) with `patch` after the patches that are on it already."""
    from comfy.patcher_extension import WrappersMP

    patched = model.clone()
    patches: tuple[Patch, ...] = (*(patched.get_attachment(KEY) or ()), patch)
    patched.set_attachments(KEY, patches)
    distinct = {id(p.sae.module): p.sae.patcher for p in patches}
    patched.set_additional_models(KEY, list(distinct.values()))
    previews = tuple((p.group, p.preview) for p in patches if p.preview is not None)
    for kind, wrapper in (
        (WrappersMP.APPLY_MODEL, HookedUNet(_readers(patches))),
        (WrappersMP.OUTER_SAMPLE, WatchedRun(previews)),
    ):
        patched.remove_wrappers_with_key(kind, KEY)
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched


def _readers(patches: Sequence[Patch]) -> tuple[tuple[str, Reader], ...]:
    """One reader per group; different modes at a site follow each other.

    Steering comes last, wherever its node stands in the chain: interventions read what the model itself computes and
    do not take away what was added on purpose.
    """
    groups: dict[Hashable, list[Patch]] = {}
    for patch in sorted(patches, key=lambda patch: isinstance(patch.edit, Steering)):
        groups.setdefault(patch.group, []).append(patch)
    return tuple((group[0].site.module, _counted(name, _reader(group))) for name, group in groups.items())


def _reader(patches: Sequence[Patch]) -> Reader:
    edits = [patch.edit for patch in patches]

    def read(block_input: Tensor, block_output: Tensor, options: Mapping[str, Any]) -> Tensor | None:
        sigma = current_sigma(options)
        pictures = pictures_of_rows(options, len(block_output))
        rows_of: dict[tuple[int, ...], list[int]] = {}
        for row, half in enumerate(halves_of_rows(options, len(block_output))):
            chosen = tuple(n for n, edit in enumerate(edits) if edit.acts_on(half))
            if chosen:
                rows_of.setdefault(chosen, []).append(row)
        edited = block_output
        for chosen, rows in rows_of.items():
            together = [edits[n] for n in chosen]
            if len(rows) == len(block_output):
                return _apply(patches[0], together, sigma, pictures, block_input, block_output)
            before = block_output[rows]
            after = _apply(patches[0], together, sigma, [pictures[row] for row in rows], block_input[rows], before)
            if after is not before:
                edited = block_output.clone() if edited is block_output else edited
                edited[rows] = after
        return edited

    return read


def _apply(
    of: Patch,
    edits: Sequence[Intervention | Steering],
    sigma: float,
    pictures: Sequence[int],
    block_input: Tensor,
    block_output: Tensor,
) -> Tensor:
    """`edits` of one group on some rows; `of` is one of the group's patches."""
    sae = of.sae.module
    if isinstance(of.edit, Steering):
        return steer(sae, [e for e in edits if isinstance(e, Steering)], sigma, pictures, block_output)
    interventions = [e for e in edits if isinstance(e, Intervention)]
    return intervene(sae, of.site.kind, interventions, sigma, block_input, block_output)


def _counted(group: Hashable, read: Reader) -> Reader:
    """`read`, with the tokens that it edits counted in the run."""

    def count(block_input: Tensor, block_output: Tensor, options: Mapping[str, Any]) -> Tensor | None:
        edited = read(block_input, block_output, options)
        if (run := options.get(RUN)) is not None:
            after = block_output if edited is None else edited
            changed = 0 if after is block_output else int(torch.ne(after, block_output).any(-1).sum())
            run.count(group, current_step(options), changed, block_output[..., 0].numel())
        return edited

    return count
