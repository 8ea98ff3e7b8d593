"""Drawing on the machines of a Ray cluster, for the commands that draw many pictures.

A shard of the pictures is a task: whole batches, the same that one process would draw, so that the results are the
same, bit for bit. What goes to a worker are the command's options, its shots and its edits; what comes back are
pictures, statistics or activations. Ray gives the shard of a worker that is lost to another one.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import SaeuronError
from ..features.statistics import ActivationStatistics
from ..optional import require
from ..shots import Shot

if TYPE_CHECKING:
    from ..reference.activations import DrawnActivations

BATCHES = 4
"""In a shard."""
RETRIES = 10
"""How often a shard is given to another worker before the command fails."""


class Drawn(NamedTuple):
    """A shard's pictures, and what was decided about them: number of the edit, place in the shard, decision."""

    pictures: np.ndarray
    decisions: list[tuple[int, int, Any]]


class Cluster:
    """What answers at ``--ray-address``, for a command with these `arguments`.

    `progress` is called with the number of pictures done. Errors: `SaeuronError` if Ray is not installed, no cluster
    answers, or a shard's workers are lost again and again; what a worker raises.
    """

    def __init__(self, arguments: Namespace, progress: Callable[[int], object]) -> None:
        self._ray = require("ray", "ray", "Drawing on several machines")
        address = arguments.ray_address
        if not self._ray.is_initialized():
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise SaeuronError(
                    f"No Ray cluster answers at {address!r}: {error} Start one with `ray start --head`, or give "
                    "'local' to use this machine alone."
                ) from error
        own = {name: value for name, value in vars(arguments).items() if name != "run"}
        self._arguments = Namespace(**{**own, "ray_address": ""})
        self._shard, self._progress = BATCHES * arguments.batch, progress
        gpus = 1 if arguments.device.startswith("cuda") else 0
        self._remote = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)

    def run(self, work: Callable[..., Any], pictures: Sequence[Any], more: Any) -> Iterator[tuple[int, Any]]:
        """What `work` made of each shard, and the shard's first place in `pictures`, as they are done."""
        if not pictures:
            raise SaeuronError("There are no prompts to draw. Give at least one.")
        task, ray = self._remote(work), self._ray
        places = range(0, len(pictures), self._shard)
        shards = [list(pictures[place : place + self._shard]) for place in places]
        running = {task.remote(self._arguments, own, more): number for number, own in enumerate(shards)}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(done)
            try:
                found = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                raise SaeuronError(
                    f"The workers that drew a part of the pictures were lost {RETRIES} times: {error} Look at their "
                    "memory, and give a smaller --batch."
                ) from error
            self._progress(len(shards[number]))
            yield number * self._shard, found


class ClusterPipeline:
    """Draws and collects as a `ReferencePipeline` with the same `arguments` does. Errors: as `Cluster`."""

    def __init__(self, arguments: Namespace, progress: Callable[[int], object]) -> None:
        self._cluster = Cluster(arguments, progress)

    def draw(self, shots: Sequence[Shot], edits: Sequence[Any] = (), watch: Any = None) -> np.ndarray:
        """All pictures, uint8 [len(shots), H, W, 3], in the order of `shots`."""
        pictures = dict(self._draw_shards(shots, edits, watch))
        return np.concatenate([pictures[place] for place in sorted(pictures)])

    def draw_batches(
        self, shots: Sequence[Shot], edits: Sequence[Any] = (), watch: Any = None
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """As `Pipeline.draw_batches`."""
        for place, pictures in self._draw_shards(shots, edits, watch):
            yield range(place, place + len(pictures)), pictures

    def collect(self, shots: Sequence[Shot], concept: str = "") -> ActivationStatistics:
        """As `ReferencePipeline.collect`: merging shards is exact."""
        parts = dict(self._cluster.run(_collect, shots, concept))
        return ActivationStatistics.merged([parts[place] for place in sorted(parts)])

    def fit(self, shots: Sequence[Shot]) -> Any:
        raise SaeuronError("check needs few pictures, and draws them here. Leave --ray-address out.")

    def _draw_shards(self, shots: Sequence[Shot], edits: Sequence[Any], watch: Any) -> Iterator[tuple[int, np.ndarray]]:
        """The first place of each shard, and its pictures, as they are done."""
        for place, drawn in self._cluster.run(_draw, shots, list(edits)):
            for edit, picture, decision in drawn.decisions if watch is not None else ():
                watch(edits[edit], place + picture, decision)
            yield place, drawn.pictures


class ClusterActivations:
    """The `Activations` that `here` has, read on the cluster; whatever else is asked of it is asked here."""

    def __init__(self, arguments: Namespace, here: DrawnActivations, progress: Callable[[int], object]) -> None:
        self._cluster, self._here = Cluster(arguments, progress), here

    def __getattr__(self, name: str) -> Any:
        return getattr(self._here, name)

    def read(self, pictures: Sequence[int]) -> dict[str, Tensor]:
        """As `DrawnActivations.read`: in whole batches, the same that it would draw."""
        parts = dict(self._cluster.run(_read, pictures, None))
        own = [parts[place] for place in sorted(parts)]
        return {name: torch.from_numpy(np.concatenate([part[name] for part in own])) for name in self._here.widths}


_LOADED: dict[str, Any] = {}  # of a worker: the model is loaded once for all of its shards


def _loaded(arguments: Namespace, load: Callable[[Namespace], Any]) -> Any:
    key = repr(sorted(vars(arguments).items(), key=lambda item: item[0]))
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = load(arguments)
    return _LOADED[key]


def _pipeline(arguments: Namespace) -> Any:
    from .options import pipeline_of

    return _loaded(arguments, lambda own: pipeline_of(own, 0))


def _draw(arguments: Namespace, shots: Sequence[Shot], edits: Sequence[Any]) -> Drawn:
    decisions: list[tuple[int, int, Any]] = []
    numbers = {id(edit): number for number, edit in enumerate(edits)}

    def watch(edit: Any, picture: int, decision: Any) -> None:
        decisions.append((numbers[id(edit)], picture, decision))

    return Drawn(_pipeline(arguments).draw(shots, edits, watch), decisions)


def _collect(arguments: Namespace, shots: Sequence[Shot], concept: str) -> ActivationStatistics:
    statistics: ActivationStatistics = _pipeline(arguments).collect(shots, concept)
    return statistics


def _read(arguments: Namespace, pictures: Sequence[int], _: None) -> dict[str, np.ndarray]:
    from .training import drawn_here

    return {name: tokens.numpy() for name, tokens in _loaded(arguments, drawn_here).read(pictures).items()}
