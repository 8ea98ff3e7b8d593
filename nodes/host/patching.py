"""Interventions on a MODEL: any number of chained ones, one wrapper, one encode per hookpoint and SAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...saeuron.intervention import Intervention, intervene
from .hooking import KEY, HookedUNet, Reader, current_sigma, halves_of_rows, warn_if_bypassed
from .sockets import HostedSAE
from .unet import Site


@dataclass(frozen=True)
class Patch:
    """One intervention, where it acts and with which SAE."""

    site: Site
    sae: HostedSAE
    intervention: Intervention


def add_patch(model: Any, patch: Patch) -> Any:
    """A clone of `model` (the host's MODEL) with `patch` after the patches that are on it already."""
    from comfy.patcher_extension import WrappersMP

    patched = model.clone()
    patches: tuple[Patch, ...] = (*(patched.get_attachment(KEY) or ()), patch)
    patched.set_attachments(KEY, patches)
    distinct = {id(p.sae.module): p.sae.patcher for p in patches}
    patched.set_additional_models(KEY, list(distinct.values()))
    for kind, wrapper in (
        (WrappersMP.DIFFUSION_MODEL, HookedUNet(_readers(patches))),
        (WrappersMP.OUTER_SAMPLE, warn_if_bypassed),
    ):
        patched.remove_wrappers_with_key(kind, KEY)
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched


def _readers(patches: Sequence[Patch]) -> tuple[tuple[str, Reader], ...]:
    """Patches with the same site, SAE and mode are applied as one; different modes at a site follow each other."""

    groups: dict[tuple[Any, ...], list[Patch]] = {}
    for patch in patches:
        groups.setdefault((patch.site, id(patch.sae.module), patch.intervention.mode), []).append(patch)
    return tuple((group[0].site.module, _reader(group)) for group in groups.values())


def _reader(patches: Sequence[Patch]) -> Reader:
    sae, kind = patches[0].sae.module, patches[0].site.kind
    interventions = [patch.intervention for patch in patches]

    def read(block_input: Tensor, block_output: Tensor, options: Mapping[str, Any]) -> Tensor | None:
        sigma = current_sigma(options)
        rows_of: dict[tuple[int, ...], list[int]] = {}
        for row, half in enumerate(halves_of_rows(options, len(block_output))):
            chosen = tuple(n for n, i in enumerate(interventions) if i.acts_on(half))
            if chosen:
                rows_of.setdefault(chosen, []).append(row)
        edited = block_output
        for chosen, rows in rows_of.items():
            together = [interventions[n] for n in chosen]
            if len(rows) == len(block_output):
                return intervene(sae, kind, together, sigma, block_input, block_output)
            before = block_output[rows]
            after = intervene(sae, kind, together, sigma, block_input[rows], before)
            if after is not before:
                edited = block_output.clone() if edited is block_output else edited
                edited[rows] = after
        return edited

    return read
