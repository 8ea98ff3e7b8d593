"""Training SAEs of several hookpoints and sizes side by side, on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..sae.files import load_sae, save_sae
from ..sae.formats import Placement
from ..sae.model import SparseAutoencoder
from .activations import Activations, Buffer, split, width_of
from .checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from .evaluation import TrainingReport, evaluate
from .fingerprint import SAME, differ, fingerprint
from .moments import Moments, moments_of
from .processes import ALONE, Processes
from .settings import TrainingSettings
from .trainer import Trainer

SEEN = "seen"
"""Of a checkpoint's tensors, the fingerprint of what the training was begun on."""


class Job(NamedTuple):
    """One SAE to train."""

    hookpoint: str
    settings: TrainingSettings
    start: SparseAutoencoder | None = None
    """A published SAE to begin from."""

    @property
    def name(self) -> str:
        """Another one for each of a run's jobs, and the name of its file."""
        size = self.settings
        return f"{self.hookpoint}_{size.activation}{size.k}_n{size.n}"


@dataclass(frozen=True)
class RunSettings:
    pictures: int = 256
    """In the buffer at once; while they are used, as many more are read."""
    held_out: int = 64
    """Pictures that only the figures are made of."""
    evaluate_every: int = 500
    """Steps. The best of the SAEs that are evaluated is kept."""
    save_every: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    prefetch: bool = True

    def __post_init__(self) -> None:
        if min(self.pictures, self.held_out, self.evaluate_every, self.save_every) < 1:
            raise SaeuronError("Pictures, held-out pictures and the steps between evaluations are 1 or more.")


class Trained(NamedTuple):
    """What became of a job."""

    sae: SparseAutoencoder
    report: TrainingReport
    moments: Moments
    losses: tuple[float, ...]
    """Of every step."""
    evaluated: tuple[tuple[int, float], ...]
    """Step, and the share of held-out variance that was left unexplained after it."""


class Progress(NamedTuple):
    """After a step of a job; `report` where it was evaluated."""

    job: Job
    done: int
    loss: float
    report: TrainingReport | None


Watch = Callable[[Progress], None]
"""May raise, to end a run; what has been evaluated so far is kept."""


class TrainingRun:
    """`folder` keeps SAEs and checkpoints, and a run with the same settings goes on there; without it nothing is kept.

    Errors: `SaeuronError` for jobs that are alike or of hookpoints that the activations do not have, a checkpoint of
    another training or on other activations, and as `Buffer` and `moments_of`.
    """

    def __init__(
        self,
        activations: Activations,
        jobs: Sequence[Job],
        settings: RunSettings,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        processes: Processes = ALONE,
    ) -> None:
        _check(activations, jobs, processes)
        self._activations, self._settings, self._folder = activations, settings, folder
        self._device, self._processes = device, processes
        parts = split(activations, settings.held_out)
        batch = jobs[0].settings.batch
        self._buffer = Buffer(activations, parts.count, settings.pictures, batch, settings.seed, settings.prefetch)
        moments = {name: moments_of(tokens) for name, tokens in self._buffer.first_round.items()}
        self.held_out = parts.held_out
        """The pictures that the figures are made of."""
        self._held_out = activations.read(list(parts.held_out))
        self._labels = [activations.label(picture) for picture in parts.held_out]
        seen = {name: fingerprint([tokens, self._held_out[name]]) for name, tokens in self._buffer.first_round.items()}
        self._running = [self._begin(job, moments[job.hookpoint], seen[job.hookpoint]) for job in jobs]

    def run(self, watch: Watch = lambda _: None) -> dict[str, Trained]:
        """Train to the end; name of a job -> what became of it. The last SAE is evaluated, too."""
        first = self.done
        steps = max(running.job.settings.steps for running in self._running)
        rank, count = self._processes.rank, self._processes.count
        for step, tokens in enumerate(self._buffer.batches(first, steps), first):
            for running in self._running:
                # A kill between two checkpoints leaves some ahead of others.
                if running.trainer.done == step < running.job.settings.steps:
                    self._step(running, tokens[running.job.hookpoint][rank::count], watch)
        return self.trained()

    @property
    def done(self) -> int:
        """Steps that every job has behind it: before `run`, those of an earlier run that was ended."""
        return min(running.trainer.done for running in self._running)

    def trained(self) -> dict[str, Trained]:
        """The best SAE so far of each job that has been evaluated."""
        return {
            running.job.name: Trained(*running.best, running.moments, tuple(running.losses), tuple(running.evaluated))
            for running in self._running
            if running.best is not None
        }

    def _begin(self, job: Job, moments: Moments, seen: Tensor) -> _Running:
        trainer = Trainer(job.settings, moments, self._device, job.start, self._processes)
        running = _Running(job, moments, seen, trainer, [], [], None)
        if self._folder is None:
            return running
        checkpoint = load_checkpoint(self._checkpoint(job), self._asked(job))
        if checkpoint is not None:
            trainer.load_state(checkpoint.tensors)
            _check_same(checkpoint.tensors[SEEN], running, self._folder)
            running.losses, running.evaluated = list(checkpoint.losses), list(checkpoint.evaluated)
            if checkpoint.best is not None:
                sae = load_sae(self.file(job)).sae
                running.best = (sae, self._evaluate(sae, job))
        return running

    def _step(self, running: _Running, tokens: Tensor, watch: Watch) -> None:
        trainer, job, settings = running.trainer, running.job, self._settings
        running.losses.append(trainer.step(tokens))
        done, last = trainer.done, trainer.done == job.settings.steps
        report = None
        if last or done % settings.evaluate_every == 0:
            sae = trainer.sae()
            report = self._evaluate(sae, job)
            running.evaluated.append((done, report.unexplained))
            if running.best is None or report.unexplained <= running.best[1].unexplained:
                running.best = (sae, report)
                if self._writes:
                    figures = report.figures(self._activations.base_model)
                    save_sae(self.file(job), sae, self._placement(job), figures=figures)
        if self._writes and (last or done % settings.save_every == 0):
            best = running.best and running.best[1].unexplained
            tensors = trainer.state() | {SEEN: running.seen}
            checkpoint = Checkpoint(tensors, tuple(running.losses), best, tuple(running.evaluated))
            save_checkpoint(self._checkpoint(job), self._asked(job), checkpoint)
        watch(Progress(job, done, running.losses[-1], report))

    def _evaluate(self, sae: SparseAutoencoder, job: Job) -> TrainingReport:
        report = evaluate(sae.to(self._device), self._held_out[job.hookpoint], self._labels)
        sae.cpu()
        return report

    @property
    def _writes(self) -> bool:
        return self._folder is not None and self._processes.rank == 0

    def _placement(self, job: Job) -> Placement:
        return Placement(self._activations.base_model, job.hookpoint, self._activations.kind)

    def file(self, job: Job) -> Path:
        """Where the job's SAE is."""
        assert self._folder is not None
        return self._folder / f"{self._activations.base_model}-{job.name}.safetensors"

    def _checkpoint(self, job: Job) -> Path:
        assert self._folder is not None
        return self._folder / "checkpoints" / f"{job.name}.safetensors"

    def _asked(self, job: Job) -> dict[str, Any]:
        activations, settings = self._activations, self._settings
        return {
            "hookpoint": job.hookpoint,
            **job.settings.as_dict(),
            "base_model": activations.base_model,
            "kind": activations.kind,
            "sigmas": list(activations.sigmas),
            "pictures": activations.pictures,
            "buffer": settings.pictures,
            "held_out": settings.held_out,
            "order": settings.seed,
            "begun_from": job.start is not None,
            **activations.source,
        }


@dataclass
class _Running:
    job: Job
    moments: Moments
    seen: Tensor
    trainer: Trainer
    losses: list[float]
    evaluated: list[tuple[int, float]]
    best: tuple[SparseAutoencoder, TrainingReport] | None


def _check(activations: Activations, jobs: Sequence[Job], processes: Processes) -> None:
    if not jobs or len({job.name for job in jobs}) < len(jobs):
        raise SaeuronError("Name at least one SAE to train, and each hookpoint, activation, k and n once.")
    for job in jobs:
        width_of(activations, job.hookpoint)
    batches = {job.settings.batch for job in jobs}
    if len(batches) > 1 or batches.pop() % processes.count:
        raise SaeuronError(
            f"SAEs that are trained together have one size of batch, which {processes.count} processes can share."
        )


def _check_same(before: Tensor, running: _Running, folder: Path) -> None:
    """Settings tell nothing of what other packs do to a model, nor of a file of prompts with another end."""
    change = differ(before, running.seen, running.moments.deviation)
    if change > SAME:
        raise SaeuronError(
            f"{str(folder)!r} has a training that was begun on other activations: the same prompts and seeds give "
            f"others now, by {change:.2g} deviations where they differ most. Something that they are drawn with has "
            "changed: its weights or LoRAs, the CLIP, another node on the MODEL. Undo that to go on, or give another "
            "folder (on Train SAE another name) to begin a new training."
        )


def figures_of(trained: Mapping[str, Trained]) -> dict[str, Any]:
    """JSON values, of each job."""
    return {
        name: {**one.report.as_dict(), "mean_to_deviation": list(one.moments.offsets), "steps": len(one.losses)}
        for name, one in trained.items()
    }
