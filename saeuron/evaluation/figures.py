"""Picture grids and plots of results, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .sweep import SweepPoint

DPI = 100

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {"unlearning_accuracy": "#D55E00", "retained_accuracy": "#0072B2", "clip_similarity": "#009E73"}
NAMES = {
    "unlearning_accuracy": "UA: concept not seen",
    "retained_accuracy": "other labels still seen",
    "clip_similarity": "CLIP similarity to the un-ablated picture",
}


def picture_grid(rows: Sequence[str], columns: Sequence[str], pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """A labelled grid: `pictures[row][column]` uint8 [H, W, 3], labels `rows` and `columns`; uint8 [h, w, 3].

    Rows may be shorter than `columns`; what is missing stays blank.
    """
    width = max((picture.shape[1] for row in pictures for picture in row), default=0)
    size = min(max(width / DPI, 2.0), 5.12)  # inches; smaller than the picture only where a sheet would get huge
    figure = _figure(size * len(columns) + 0.6, size * len(rows) + 0.5)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, label in enumerate(rows):
        for column, title in enumerate(columns):
            axis = axes[row][column]
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if column < len(pictures[row]):
                axis.imshow(pictures[row][column])
            if row == 0:
                axis.set_title(_wrapped(title), fontsize=9)
        axes[row][0].set_ylabel(_wrapped(label), fontsize=8)
    return _rendered(figure)


def sweep_plot(points: Sequence[SweepPoint], title: str) -> np.ndarray:
    """UA, retained accuracy and CLIP similarity against the multiplier; dashed lines are the un-ablated model's."""
    figure = _figure(7, 4.2)
    axis = figure.subplots()
    swept = sorted((p for p in points if p.multiplier is not None), key=lambda p: p.multiplier)
    baselines = [p for p in points if p.multiplier is None]
    for name, colour in COLOURS.items():
        known = [(p.multiplier, getattr(p, name)) for p in swept if getattr(p, name) is not None]
        if known:
            axis.plot(*zip(*known, strict=True), marker="o", color=colour, label=NAMES[name])
        for baseline in baselines:
            if getattr(baseline, name) is not None:
                axis.axhline(getattr(baseline, name), color=colour, linestyle="--", linewidth=1)
    axis.set(xlabel="multiplier", ylim=(-0.03, 1.03), title=title)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)
    return _rendered(figure)


def _figure(width: float, height: float) -> Any:
    """Inches. Not through pyplot, whose state is shared with whatever else runs in the process."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="tight")


def _rendered(figure: Any) -> np.ndarray:
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def _wrapped(label: str, width: int = 26) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, width)[:4])
