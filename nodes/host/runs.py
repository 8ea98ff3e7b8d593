"""What happens in a sampling run, and what nodes show of it; results of a run that did not end."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from comfy_api.v0_0_2 import ui
from torch import Tensor

from ...saeuron.errors import SaeuronError
from ...saeuron.figures.tables import edited_tokens_table
from ...saeuron.files import write_atomically, write_png
from ...saeuron.schedule import mismatch, nearest_step
from .call import RUN, Conditionings, read_schedule

T = TypeVar("T")


Changed = tuple[Tensor | int, int]
"""Tokens changed, tokens seen."""


Note = Callable[[], None]
"""What is to be noted of a call if it comes to its end."""


def changed_tokens(before: Tensor, after: Tensor) -> Changed:
    """Of the tokens [..., d]. Counted on the device, and read when the run has ended: nothing waits for it here."""
    changed = 0 if after is before else torch.ne(after, before).any(-1).sum()
    return changed, before[..., 0].numel()


class Run:
    """One sampling run: its steps, its conditionings, and what edits did in it."""

    def __init__(self, schedule: list[float]) -> None:
        """`schedule`: the noise level of each step."""
        self.schedule = schedule
        self.conditionings: Conditionings | None = None
        self.latents: Tensor | None = None
        """What came out, [B, 4, h, w], once the run has ended."""
        self.looking = False
        """Whether the run is only looked at for now, and may be begun again (`LookFirst`)."""
        self._held: list[Note] = []
        self._asked: list[Tensor] = []
        self._edited: dict[Hashable, dict[int, list[Changed]]] = {}
        self._kept: dict[Hashable, Any] = {}

    # Packs copy the options that a run travels in; it is the same run all the same.
    def __copy__(self) -> Run:
        return self

    def __deepcopy__(self, _: Any) -> Run:
        return self

    def kept(self, owner: Hashable, make: Callable[[], T]) -> T:
        """What `owner` keeps for the length of this run, made when it is first asked for."""
        if owner not in self._kept:
            self._kept.setdefault(owner, make())
        return cast(T, self._kept[owner])

    def note(self, notes: Sequence[Note]) -> None:
        """A call has come to its end, and `notes` are to be taken of it: now, or when it is known that it counts."""
        self._held += notes
        if not self.looking:
            self._take_notes()

    def go_on(self) -> None:
        """What was looked at is what is wanted."""
        self.looking = False
        self._take_notes()

    def begin_again(self) -> None:
        """What was looked at does not count. What was kept stays."""
        self.looking = False
        self._held.clear()
        self._asked.clear()

    def _take_notes(self) -> None:
        for take in self._held:
            take()
        self._held.clear()

    def ask(self, sigma: Tensor) -> None:
        """The sampler wants a prediction at this noise level."""
        self._asked.append(sigma)

    def count(self, edit: Hashable, step: int, tokens: Changed) -> None:
        """What `edit` did in one call of the UNet at `step`."""
        self._edited.setdefault(edit, {}).setdefault(step, []).append(tokens)

    def edited(self, edit: Hashable) -> Mapping[int, tuple[int, int]]:
        """Step -> (tokens edited, tokens seen), over all calls."""
        steps = self._edited.get(edit, {})
        return {step: (sum(int(c) for c, _ in calls), sum(n for _, n in calls)) for step, calls in steps.items()}

    def asked(self) -> set[int]:
        """The steps at which the sampler wanted a prediction."""
        sigmas = torch.stack(self._asked).tolist() if self._asked else []
        return {nearest_step(self.schedule, sigma) for sigma in sigmas if sigma > 0} if self.schedule else set()


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


def current_run(options: Mapping[str, Any]) -> Run | None:
    """The run that a call with these ``transformer_options`` belongs to, None outside of the host's guiders."""
    return options.get(RUN) or _RUN.get()


class Preview(NamedTuple):
    """A node that shows `text`, and above it what the run did. `name` is what people call it."""

    node_id: str | None
    text: str
    name: str
    sigmas: tuple[float | None, ...] = ()
    """The noise levels that the steps of its feature set were recorded at."""

    def show(self, run: Run, table: str) -> None:
        """`table` says what was done in `run`."""
        note = mismatch(self.sigmas, [*run.schedule, 0.0])
        send_text("\n".join(part for part in (table, note, self.text) if part), self.node_id)


Report = Callable[[Run], None]


class WatchedRun:
    """An ``OUTER_SAMPLE`` wrapper: begins a `Run`, and when it has ended calls `reports` with it."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self._reports = tuple(reports)

    def __call__(
        self, executor: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        options = executor.class_obj.model_options.setdefault("transformer_options", {})
        run = options[RUN] = Run(read_schedule(sigmas))
        token = _RUN.set(run)
        try:
            result = run.latents = executor(noise, latent, sampler, sigmas, *args, **kwargs)
        finally:
            _RUN.reset(token)
            del options[RUN]
        for report in self._reports:
            report(run)
        return result


def report_edit(edit: Hashable, preview: Preview, run: Run) -> None:
    """Show what `edit` did, and say so if the edited block was never run."""
    asked, steps = run.asked(), run.edited(edit)
    if asked and not steps:
        warn_of_no_effect(preview.name)
    preview.show(run, edited_tokens_table(steps, asked))


def warn_of_no_effect(name: str) -> None:
    """Packs that replace what runs a block leave its edit out, and the picture would silently be the plain one."""
    logging.getLogger("saeuron").warning(
        "%s had no effect: another custom node runs the UNet without the edited block, or without ComfyUI's model "
        "wrappers. Remove that node from the graph, or disable its pack.",
        name,
    )


def tag_conditionings(
    executor: Any,
    guider: Any,
    sigmas: Tensor,
    extra: dict[str, Any],
    callback: Any,
    noise: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """A ``SAMPLER_SAMPLE`` wrapper: the run's conditionings are complete, and can be told apart from here on."""
    run = current_run(extra["model_options"]["transformer_options"])
    if run is not None and isinstance(getattr(guider, "conds", None), dict):
        run.conditionings = Conditionings(guider, len(noise), (noise.shape[-2], noise.shape[-1]))
    return executor(guider, sigmas, extra, callback, noise, *args, **kwargs)


def note_step(
    executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """A ``PREDICT_NOISE`` wrapper: the sampler wants a prediction."""
    run = current_run(model_options.get("transformer_options", {}))
    if run is not None:
        run.ask(timestep.flatten()[0])
    return executor(x, timestep, model_options, *args, **kwargs)


def node_id_of(node: Any) -> str | None:
    """`node` is the class that executes, with ``io.Hidden.unique_id`` in its schema; None outside a running graph."""
    hidden = getattr(node, "hidden", None)
    return None if hidden is None else hidden.unique_id


def send_text(text: str, node_id: str | None) -> None:
    """Show `text` on a node in the browser; nowhere if `node_id` is None or no server runs."""
    # Not imported: where no server runs, a node must not begin to load one. The name is a common one, so what bears it
    # need not be the host's, and the host's has no instance before it starts.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if node_id is not None and server is not None:
        server.send_progress_text(text, node_id)


def show_text(node: Any, text: str) -> ui.PreviewText:
    """`node` is as for `node_id_of`.

    The front end draws the ``text`` output of its own PreviewAny only, so it is sent as the node's progress text, too.
    """
    send_text(text, node_id_of(node))
    return ui.PreviewText(text)


def keep_unfinished(name: str, picture: np.ndarray, figures: Any) -> None:
    """Save what a run has so far to the host's output folder, as PNG and JSON, under a name that is not taken.

    `picture` is uint8 [H, W, 3], `figures` JSON values. Where nothing can be written the log says so, because what
    ended the run is what its node has to show.
    """
    import folder_paths

    log = logging.getLogger("saeuron")
    folder = Path(folder_paths.get_output_directory()) / "saeuron"
    number = 1
    while (path := folder / f"{name}_{number:05d}_unfinished.png").exists():
        number += 1
    try:
        write_png(path, picture)
        write_atomically(path.with_suffix(".json"), f"{json.dumps(figures, indent=2)}\n".encode())
    except SaeuronError as error:
        log.warning("The run did not end, and what there is of it is lost: %s", error)
    else:
        log.info("The run did not end; what there is so far is in %s.", path)
