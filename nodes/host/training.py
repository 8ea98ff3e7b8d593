"""A training in the host: its bar, a plot in the node, interruption, and where it keeps what it goes on from."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...saeuron.figures.training import training_plot
from ...saeuron.json_text import format_json
from ...saeuron.training.run import Progress, Trained

PLOTS = 40
"""In a run."""


class PlottedProgress:
    """Told of each step of a job. Errors: the host's own where the run is interrupted."""

    def __init__(self, steps: int, title: str) -> None:
        import comfy.utils

        self._bar = comfy.utils.ProgressBar(steps)
        self._steps, self._title = steps, title
        self._losses: list[float] = []
        self.evaluated: list[tuple[int, float]] = []
        """Step, and the share of held-out variance that was left unexplained after it."""

    def go_on(self, trained: Trained) -> None:
        """After what an earlier run has done already."""
        self._losses, self.evaluated = list(trained.losses), list(trained.evaluated)

    def __call__(self, progress: Progress) -> None:
        import comfy.model_management

        self._losses.append(progress.loss)
        if progress.report is not None:
            self.evaluated.append((progress.done, progress.report.unexplained))
        due = progress.report is not None or progress.done % max(1, self._steps // PLOTS) == 0
        self._bar.update_absolute(progress.done, preview=self._preview() if due else None)
        comfy.model_management.throw_exception_if_processing_interrupted()

    def _preview(self) -> tuple[str, object, None]:
        """As the host's samplers send theirs: format, picture, and no limit on its size."""
        from PIL import Image

        return "PNG", Image.fromarray(training_plot(self._losses, self.evaluated, self._title)), None


def checkpoint_folder(sae: Path, asked: Mapping[str, Any]) -> Path:
    """Where the training of `sae` keeps its checkpoints, in the host's user folder: another one for all that differs in
    `asked`, JSON values. Those of earlier trainings of `sae` with other settings are deleted."""
    folder = _checkpoints(sae) / _digest(format_json(asked))
    for other in _checkpoints(sae).glob("*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def forget_checkpoints(sae: Path) -> None:
    shutil.rmtree(_checkpoints(sae), ignore_errors=True)


def _checkpoints(sae: Path) -> Path:
    import folder_paths

    return Path(folder_paths.get_user_directory()) / "saeuron" / "training" / f"{sae.stem}-{_digest(str(sae))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
