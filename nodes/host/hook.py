"""Hooks on blocks of the UNet that live for one call of it.

An ``APPLY_MODEL`` wrapper puts them in, runs the UNet, and takes them out whatever happens: the base model and its
other clones never see them, LoRA keys stay as they are, and torch.compile works on either side of it.

A hook replaces the block's ``forward``. torch's own forward hooks would do in eager mode, but torch.compile does not
check whether hooks were added since it compiled (``torch._dynamo.config.skip_nnmodule_hook_guards``), and the edit
would silently be left out; it does check for a replaced ``forward``. To the compiler a hook is one custom operation
that it does not look into, so the UNet stays one graph, and another multiplier needs no compiling.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...saeuron.errors import SaeuronError
from ...saeuron.figures.tables import edited_tokens_table
from ...saeuron.schedule import nearest_step
from .runs import send_text
from .unet import uncompiled

KEY = "saeuron"

# block input, block output (both BHWC), the host's transformer_options -> new output, or None to leave it alone
Reader = Callable[[Tensor, Tensor, Mapping[str, Any]], Tensor | None]

# block input, block output (both BCHW) -> new output; the output itself to leave it alone
Hook = Callable[[Tensor, Tensor], Tensor]

RUN = f"{KEY}-run"  # where a run keeps its `Run` in transformer_options

POSITIVE, NEGATIVE = 0, 1  # the host's numbers in cond_or_uncond


class Run:
    """What happened in one sampling run. An object, because the host copies lists and dicts for every call."""

    def __init__(self) -> None:
        self._edited: dict[Hashable, dict[int, tuple[int, int]]] = {}

    def count(self, edit: Hashable, step: int, edited: int, tokens: int) -> None:
        """`edit` names what was done to the `edited` ones of `tokens` tokens in one call of the UNet at `step`."""
        steps = self._edited.setdefault(edit, {})
        before = steps.get(step, (0, 0))
        steps[step] = before[0] + edited, before[1] + tokens

    def edited(self, edit: Hashable) -> Mapping[int, tuple[int, int]]:
        """Step -> (tokens edited, tokens seen), over all calls."""
        return self._edited.get(edit, {})


class Preview(NamedTuple):
    """A node that shows `text`, and below it what the run did."""

    node_id: str | None
    text: str


class HookedUNet:
    """The wrapper. `readers` is a tuple of (module path, reader), called in order."""

    def __init__(self, readers: tuple[tuple[str, Reader], ...]) -> None:
        self._readers = readers

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        unet = uncompiled(executor.class_obj.diffusion_model)
        options = kwargs.get("transformer_options") or (args[5] if len(args) > 5 else {})
        outer = _HOOKS.get()
        with ExitStack() as undo:
            hooks = (partial(_hook, reader, options) for _, reader in self._readers)
            undo.callback(_HOOKS.reset, _HOOKS.set((*outer, *hooks)))
            for number, (path, _) in enumerate(self._readers, len(outer)):
                undo.callback(_replace_forward(unet.get_submodule(path), number))
            return executor(*args, **kwargs)


class WatchedRun:
    """An ``OUTER_SAMPLE`` wrapper: when a run has ended, the nodes of `previews`, (edit, its node), show what it did.

    It says so if an edited block was never run: packs that replace what runs it leave the edit out, and the picture
    would silently be the plain one.
    """

    def __init__(self, previews: tuple[tuple[Hashable, Preview], ...]) -> None:
        self._previews = previews

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = executor.class_obj.model_options.setdefault("transformer_options", {})
        run = options[RUN] = Run()
        try:
            result = executor(*args, **kwargs)
        finally:
            del options[RUN]
        if not all(run.edited(edit) for edit, _ in self._previews):
            logging.getLogger("saeuron").warning(
                "Unlearn had no effect: another custom node runs the UNet without the edited block, or without "
                "ComfyUI's model wrappers. Remove that node from the graph, or disable its pack."
            )
        for edit, preview in self._previews:
            send_text(f"{edited_tokens_table(run.edited(edit))}\n{preview.text}", preview.node_id)
        return result


_HOOKS: ContextVar[tuple[Hook, ...]] = ContextVar("hooks", default=())
"""Those of the call that runs now: compiled code keeps numbers, but nothing that belongs to one call."""


def _replace_forward(block: nn.Module, number: int) -> Callable[[], None]:
    """Let the hook of this `number` act on what `block` gives; returns what undoes it."""
    inner = block.forward
    replaced_before = "forward" in vars(block)

    def forward(block_input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        block_output = inner(block_input, *args, **kwargs)
        run_hook = _run_hook_compiled if torch.compiler.is_compiling() else _run_hook
        return run_hook(block_input, block_output, number)

    def undo() -> None:
        if replaced_before:
            block.forward = inner
        else:
            del block.forward

    block.forward = forward
    return undo


def _hook(reader: Reader, options: Mapping[str, Any], block_input: Tensor, block_output: Tensor) -> Tensor:
    tokens_out = block_output.permute(0, 2, 3, 1)  # BCHW -> BHWC
    edited = reader(block_input.permute(0, 2, 3, 1), tokens_out, options)
    if edited is None or edited is tokens_out:
        return block_output
    return edited.permute(0, 3, 1, 2).contiguous()  # BHWC -> BCHW


def _run_hook(block_input: Tensor, block_output: Tensor, number: int) -> Tensor:
    return _HOOKS.get()[number](block_input, block_output)


def _run_hook_into_copy(block_input: Tensor, block_output: Tensor, number: int) -> Tensor:
    # An operation must not return what it was given, and has to keep the memory layout that it announces.
    return torch.empty_like(block_output).copy_(_run_hook(block_input, block_output, number))


# CUDA graphs would repeat the kernels of the first call instead of asking what this call's are.
_TAGS: dict[str, Any] = {"tags": (torch.Tag.cudagraph_unsafe,)} if hasattr(torch.Tag, "cudagraph_unsafe") else {}
_run_hook_compiled = torch.library.custom_op("saeuron::hook", _run_hook_into_copy, mutates_args=(), **_TAGS)
_run_hook_compiled.register_fake(lambda block_input, block_output, number: torch.empty_like(block_output))


def current_sigma(options: Mapping[str, Any]) -> float:
    sigmas = options.get("sigmas")
    if sigmas is None:
        raise SaeuronError(
            "The node that runs this model does not tell the noise level, so the step's features can't be chosen. "
            "Use KSampler, SamplerCustom or another sampler that goes through ComfyUI's sampling."
        )
    return float(sigmas.flatten()[0])


def current_step(options: Mapping[str, Any]) -> int:
    """The step of the run's schedule that the current call belongs to, from 0; 0 where the schedule is not known."""
    schedule = options.get("sample_sigmas")
    steps = [] if schedule is None else [sigma for sigma in schedule.flatten().tolist() if sigma > 0]
    sigma = current_sigma(options)
    return nearest_step(steps, sigma) if steps and sigma > 0 else 0


def halves_of_rows(options: Mapping[str, Any], batch: int) -> list[int]:
    """For each row of the batch, POSITIVE or NEGATIVE.

    The host stacks equal chunks, one per entry of ``cond_or_uncond``; at cfg 1 there is a single positive one.
    """
    chunks = options.get("cond_or_uncond") or [POSITIVE]
    if batch % len(chunks):
        raise SaeuronError(f"A batch of {batch} can't be split into the {len(chunks)} conditionings the sampler names.")
    rows = batch // len(chunks)
    return [chunk for chunk in chunks for _ in range(rows)]


def pictures_of_rows(options: Mapping[str, Any], batch: int) -> list[int]:
    """For each row of the batch, which picture of the latent's batch it belongs to, from 0."""
    pictures = batch // len(options.get("cond_or_uncond") or [POSITIVE])
    return [row % pictures for row in range(batch)]
