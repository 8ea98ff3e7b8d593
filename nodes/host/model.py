"""Edits and recorders on a MODEL: any number of chained ones, one wrapper, one encode per hookpoint and SAE."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...saeuron.edits.apply import Edit, apply_edits
from ...saeuron.edits.call import POSITIVE, Call
from ...saeuron.sae.model import SparseCodes, read_tokens
from .call import TAG, read_call
from .hook import Hook, acting, hooked
from .layers import with_layer_patches
from .look_first import LookFirst, see_or_hold
from .replacing import ReplacementPatch, ReplacingCall, Stop, report_replacement
from .runs import (
    Note,
    Preview,
    Report,
    Run,
    WatchedRun,
    changed_tokens,
    current_run,
    note_step,
    report_edit,
    tag_conditionings,
)
from .sockets import HostedSAE
from .unet import Site, uncompiled

KEY = "saeuron"

Keep = Callable[[Call, Sequence[int], SparseCodes], None]
"""A call, those of its rows that are positive, and their codes [rows, h, w, k]."""

KeepTokens = Callable[[Call, Tensor, Tensor], None]
"""A call, and what the block was given and gave [rows, h, w, d], of those rows that are positive."""


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


@dataclass(frozen=True)
class TokenRecorder:
    """Hands on what the block was given and what it gave, after all edits. Nothing is changed."""

    site: Site
    sae: HostedSAE | None
    """Which the host is to have loaded then, if any."""
    keep: KeepTokens


class Attached(NamedTuple):
    """All that is on a MODEL, in the order in which it was put there."""

    patches: tuple[Patch, ...] = ()
    replacements: tuple[ReplacementPatch, ...] = ()
    recorders: tuple[Recorder | TokenRecorder, ...] = ()
    left_out: tuple[str, ...] = ()
    """Modules that give back what they get."""


def attached(model: Any) -> Attached:
    """What is on `model` (the host's MODEL)."""
    found: Attached | None = model.get_attachment(KEY)
    return Attached() if found is None else found


def add_patch(model: Any, patch: Patch) -> Any:
    """A clone of `model` with `patch` after the patches that are on it already."""
    before = attached(model)
    return _with(model, before._replace(patches=(*before.patches, patch)))


def add_replacement(model: Any, patch: ReplacementPatch) -> Any:
    """A clone of `model` with one more replacement on it."""
    before = attached(model)
    return _with(model, before._replace(replacements=(*before.replacements, patch)))


def add_recorder(model: Any, recorder: Recorder | TokenRecorder) -> Any:
    """A clone of `model` with `recorder` on it; edits that are on `model` stay and are seen."""
    before = attached(model)
    return _with(model, before._replace(recorders=(*before.recorders, recorder)))


def leave_out(model: Any, module: str) -> Any:
    """A clone of `model` in which the UNet's `module` gives back what it gets."""
    before = attached(model)
    return _with(model, before._replace(left_out=(*before.left_out, module)))


def _with(model: Any, everything: Attached) -> Any:
    from comfy.patcher_extension import WrappersMP

    patched = model.clone()
    patched.set_attachments(KEY, everything)
    saes = [own.sae for part in everything[:3] for own in part if own.sae is not None]
    patched.set_additional_models(KEY, list({id(sae.module): sae.patcher for sae in saes}.values()))
    reports: list[Report] = [
        partial(report_edit, (_place(patch), patch.edit.group), patch.preview)
        for patch in everything.patches
        if patch.preview is not None
    ]
    reports += [partial(report_replacement, patch) for patch in everything.replacements]
    wrappers: list[tuple[str, Callable[..., Any]]] = [
        (WrappersMP.APPLY_MODEL, _EditedUNet(everything)),
        (WrappersMP.OUTER_SAMPLE, WatchedRun(reports)),
        (WrappersMP.SAMPLER_SAMPLE, tag_conditionings),
        (WrappersMP.PREDICT_NOISE, note_step),
    ]
    looking = [own for own in everything.replacements if own.replacement.look_first and own.replacement.strength]
    for kind, _ in wrappers:
        patched.remove_wrappers_with_key(kind, KEY)
    if looking:
        wrappers += [(WrappersMP.OUTER_SAMPLE, LookFirst(looking)), (WrappersMP.PREDICT_NOISE, see_or_hold)]
    for kind, wrapper in wrappers:
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched


def _place(patch: Patch) -> Hashable:
    """Patches of the same place share an encode."""
    # By what the SAE is: without the host's cache, two Load SAE of one file give two objects.
    identity = patch.sae.identity
    return patch.site, identity if identity.sha256 else id(patch.sae.module)


class _EditedUNet:
    """An ``APPLY_MODEL`` wrapper: reads the call once, and lets hooks act in the UNet for as long as it runs.

    The base model and its other clones never see them, and LoRA keys stay as they are.
    """

    def __init__(self, everything: Attached) -> None:
        self._places: dict[Hashable, list[Patch]] = {}
        for patch in everything.patches:
            self._places.setdefault(_place(patch), []).append(patch)
        self._everything = everything

    def __call__(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        tags = kwargs.pop(TAG, None)
        arguments = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        options = arguments.get("transformer_options") or {}
        run, size = current_run(options), (x.shape[-2], x.shape[-1])
        call = read_call(options, tags, len(x), size, run)
        unet = uncompiled(executor.class_obj.diffusion_model)
        replacing = ReplacingCall(self._everything.replacements, call, run, _weights_vary(executor.class_obj))
        if any(patch.replacement.strength for patch in self._everything.replacements):
            # In every call, also where no gate is open: to torch.compile other patches are another graph.
            arguments["transformer_options"] = with_layer_patches(options)

        def attempt() -> tuple[Any, list[Note]]:
            notes: list[Note] = []
            hooks: list[tuple[str, Hook]] = [
                (patches[0].site.module, partial(_edit, patches, place, call, run, notes))
                for place, patches in self._places.items()
            ]
            hooks += [(module, _given) for module in self._everything.left_out]
            hooks += [(own.site.module, partial(_record, own, call, notes)) for own in self._everything.recorders]
            own = dict(arguments)
            if replacing.undecided and own.get("control"):  # the UNet takes what a ControlNet gave out of its lists
                own["control"] = {name: list(values) for name, values in own["control"].items()}
            with hooked(unet, [*replacing.detectors(), *hooks]), acting(replacing.layers(unet)):
                return executor(x, **own), notes

        with suppress(Stop):
            result, notes = attempt()
        if replacing.opened:
            replacing.settle()
            result, notes = attempt()
        if run is not None:
            run.note(notes)
        else:
            for note in notes:
                note()
        return result


def _weights_vary(base: Any) -> bool:
    """Whether this call of the host's `base` model runs with weights of a conditioning's own (LoRA hooks)."""
    return getattr(getattr(base, "current_patcher", None), "current_hooks", None) is not None


_ARGUMENTS = ("t", "c_concat", "c_crossattn", "control", "transformer_options")
"""The names of the host's ``apply_model`` arguments after the first."""


def _edit(
    patches: Sequence[Patch],
    place: Hashable,
    call: Call,
    run: Run | None,
    notes: list[Note],
    block_input: Tensor,
    block_output: Tensor,
) -> Tensor:
    def watch(group: Hashable, before: Tensor, after: Tensor) -> None:
        if run is not None:
            notes.append(partial(run.count, (place, group), call.step, changed_tokens(before, after)))

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


def _given(block_input: Tensor, _block_output: Tensor) -> Tensor:
    return block_input


def _record(
    recorder: Recorder | TokenRecorder,
    call: Call,
    notes: list[Note],
    block_input: Tensor,
    block_output: Tensor,
) -> Tensor:
    rows = [row for row in range(len(call.rows)) if call.role(row) == POSITIVE]
    if not rows:
        return block_output
    given, gave = (tokens[rows].permute(0, 2, 3, 1) for tokens in (block_input, block_output))  # BCHW -> BHWC
    with torch.no_grad():
        if isinstance(recorder, TokenRecorder):
            notes.append(partial(recorder.keep, call, given, gave))
        else:
            codes = recorder.sae.module.encode(read_tokens(recorder.site.kind, given, gave))
            notes.append(partial(recorder.keep, call, rows, codes))
    return block_output
