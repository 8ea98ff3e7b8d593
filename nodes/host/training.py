"""Progress of a training in the host: its bar, a plot in the node, and interruption."""

from __future__ import annotations

from ...saeuron.figures.training import training_plot
from ...saeuron.training.run import Progress

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
