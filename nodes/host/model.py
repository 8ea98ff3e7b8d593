"""Edits and recorders on a MODEL: any number of chained ones, one wrapper, one encode per hookpoint and SAE."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...saeuron.edits.apply import Edit, apply_edits
from ...saeuron.edits.call import POSITIVE, Call
from ...saeuron.sae.model import SparseCodes, read_tokens
from .call import TAG, read_call
from .hook import Hook, hooked
from .runs import Preview, Run, WatchedRun, current_run, note_step, tag_conditionings
from .sockets import HostedSAE
from .unet import Site, uncompiled

KEY = "saeuron"

Keep = Callable[[Call, Sequence[int], SparseCodes], None]
"""A call, those of its rows that are positive, and their codes [rows, h, w, k]."""


@dataclass(frozen=True)
class Patch:
    """One edit, where it acts and with which SAE, and the node that shows what it did."""

    site: Site
    sae: HostedSAE
    edit: Edit
    preview: Preview | None = None


@dataclass(frozen=True)
class Recorder:
    """Hands what the SAE sees to `keep`, after all edits. Nothing is changed."""

    site: Site
    sae: HostedSAE
    keep: Keep


def add_patch(model: Any, patch: Patch) -> Any:
    """A clone of `model` (the host's MODEL) with `patch` after the patches that are on it already."""
    patches, recorders = model.get_attachment(KEY) or ((), ())
    return _with(model, (*patches, patch), recorders)


def add_recorder(model: Any, recorder: Recorder) -> Any:
    """A clone of `model` with `recorder` on it; edits that are on `model` stay and are seen."""
    patches, recorders = model.get_attachment(KEY) or ((), ())
    return _with(model, patches, (*recorders, recorder))


def _with(model: Any, patches: tuple[Patch, ...], recorders: tuple[Recorder, ...]) -> Any:
    from comfy.patcher_extension import WrappersMP

    patched = model.clone()
    patched.set_attachments(KEY, (patches, recorders))
    saes = [patch.sae for patch in patches] + [recorder.sae for recorder in recorders]
    distinct = {id(sae.module): sae.patcher for sae in saes}
    patched.set_additional_models(KEY, list(distinct.values()))
    previews = tuple(((_place(p), p.edit.group), p.preview) for p in patches if p.preview is not None)
    for kind, wrapper in (
        (WrappersMP.APPLY_MODEL, _EditedUNet(patches, recorders)),
        (WrappersMP.OUTER_SAMPLE, WatchedRun(previews)),
        (WrappersMP.SAMPLER_SAMPLE, tag_conditionings),
        (WrappersMP.PREDICT_NOISE, note_step),
    ):
        patched.remove_wrappers_with_key(kind, KEY)
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched


def _place(patch: Patch) -> Hashable:
    """Patches of the same place share an encode."""
    # By what the SAE is: without the host's cache, two Load SAE of one file give two objects.
    identity = patch.sae.identity
    return patch.site, identity if identity.sha256 else id(patch.sae.module)


class _EditedUNet:
    """An ``APPLY_MODEL`` wrapper: reads the call once, and puts hooks into the UNet for as long as it runs.

    The base model and its other clones never see them, and LoRA keys stay as they are.
    """

    def __init__(self, patches: Sequence[Patch], recorders: Sequence[Recorder]) -> None:
        self._places: dict[Hashable, list[Patch]] = {}
        for patch in patches:
            self._places.setdefault(_place(patch), []).append(patch)
        self._recorders = tuple(recorders)

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        tags = kwargs.pop(TAG, None)
        # t, c_concat, c_crossattn, control, transformer_options
        options = kwargs.get("transformer_options") or (args[4] if len(args) > 4 else {})
        run = current_run(options)
        call = read_call(options, tags, len(x), (x.shape[-2], x.shape[-1]), run)
        hooks: list[tuple[str, Hook]] = [
            (patches[0].site.module, partial(_edit, patches, place, call, run))
            for place, patches in self._places.items()
        ]
        hooks += [(recorder.site.module, partial(_record, recorder, call)) for recorder in self._recorders]
        with hooked(uncompiled(executor.class_obj.diffusion_model), hooks):
            return executor(x, *args, **kwargs)


def _edit(
    patches: Sequence[Patch], place: Hashable, call: Call, run: Run | None, block_input: Tensor, block_output: Tensor
) -> Tensor:
    def watch(group: Hashable, before: Tensor, after: Tensor) -> None:
        if run is not None:
            run.count((place, group), call.step, before, after)

    tokens_out = block_output.permute(0, 2, 3, 1)  # BCHW -> BHWC
    edited = apply_edits(
        patches[0].sae.module,
        patches[0].site.kind,
        [patch.edit for patch in patches],
        call,
        block_input.permute(0, 2, 3, 1),
        tokens_out,
        watch,
    )
    if edited is tokens_out:
        return block_output
    return edited.permute(0, 3, 1, 2).contiguous()  # BHWC -> BCHW


def _record(recorder: Recorder, call: Call, block_input: Tensor, block_output: Tensor) -> Tensor:
    if rows := [row for row in range(len(call.rows)) if call.role(row) == POSITIVE]:
        with torch.no_grad():
            x = read_tokens(recorder.site.kind, block_input[rows], block_output[rows]).permute(0, 2, 3, 1)
            recorder.keep(call, rows, recorder.sae.module.encode(x))
    return block_output
