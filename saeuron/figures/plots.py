"""Picture grids and plots of results, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.places import BlockStudy
from ..evaluation.sweep import SweepPoint
from ..features.feature_set import Feature
from ..features.heatmaps import Heatmap
from ..sae.labels import named

DPI = 100

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {"unlearning_accuracy": "#D55E00", "retained_accuracy": "#0072B2", "clip_similarity": "#009E73"}
NAMES = {
    "unlearning_accuracy": "UA: concept not seen",
    "retained_accuracy": "other labels still seen",
    "clip_similarity": "CLIP similarity to the un-ablated picture",
}

HEAT = "cividis"
"""matplotlib's map that looks alike to people with any colour vision."""

OPACITY = 0.7
"""Of a map over a picture in grey, which leaves the colours to the map."""

MAX_BARS = 40
BAR_PANELS = {
    "score": (("score", "score", "#009E73"),),
    "mean activation": (("mean_concept", "in the concept", "#D55E00"), ("mean_all", "in all", "#0072B2")),
    "firing rate": (("rate_concept", "in the concept", "#D55E00"), ("rate_all", "in all", "#0072B2")),
}
"""Panel -> (field of `Feature`, legend, one of Okabe and Ito's colours)."""


def picture_grid(rows: Sequence[str], columns: Sequence[str], pictures: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """A labelled grid: `pictures[row][column]` uint8 [H, W, 3], labels `rows` and `columns`; uint8 [h, w, 3].

    Rows may be shorter than `columns`; what is missing stays blank.
    """
    width = max((picture.shape[1] for row in pictures for picture in row), default=0)
    size = min(max(width / DPI, 2.0), 5.12)  # inches; smaller than the picture only where a sheet would get huge
    figure = new_figure(size * len(columns) + 0.6, size * len(rows) + 0.5)
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
    return rendered(figure)


def sweep_plot(points: Sequence[SweepPoint], title: str) -> np.ndarray:
    """UA, retained accuracy and CLIP similarity against the multiplier; dashed lines are the un-ablated model's."""
    figure = new_figure(7, 4.2)
    axis = figure.subplots()
    swept = sorted((p for p in points if p.multiplier is not None), key=lambda p: p.multiplier or 0.0)
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
    return rendered(figure)


def block_plot(study: BlockStudy) -> np.ndarray:
    """What is left of the concept without each block, in the order in which they run; uint8 [h, w, 3]."""
    measures = (("seen", "concept still seen", "#D55E00"), ("similarity", NAMES["clip_similarity"], "#009E73"))
    known = [m for m in measures if any(getattr(block, m[0]) is not None for block in study.effects)]
    figure = new_figure(8, 1.3 + 0.45 * max(len(study.effects), 1))
    axis = figure.subplots()
    thickness = 0.8 / max(len(known), 1)
    for place, (field, label, colour) in enumerate(known):
        offset = (place - (len(known) - 1) / 2) * thickness
        rows = [row + offset for row in range(len(study.effects))]
        axis.barh(rows, [getattr(b, field) for b in study.effects], thickness, color=colour, label=label)
    axis.set_yticks(range(len(study.effects)), [block.hookpoint for block in study.effects], fontsize=8)
    axis.set_ylim(len(study.effects) - 0.4, -0.6)  # the first one on top
    axis.set(xlim=(min(0.0, axis.get_xlim()[0]), 1.0), xlabel="left of the concept without this block")
    axis.grid(axis="x", alpha=0.3)
    if known:
        axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return rendered(figure)


def heatmap_overlays(picture: np.ndarray, heatmaps: Sequence[Heatmap]) -> np.ndarray:
    """Each of `heatmaps` over `picture`, uint8 [H, W, 3], with a legend; one scale for all. uint8 [N, h, w, 3]."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    height, width = picture.shape[:2]
    highest = max(float(heatmap.values.max()) for heatmap in heatmaps)
    scale = Normalize(0, highest if highest > 0 else 1)
    size = min(max(width / 100, 4.0), 8.0)
    overlays = []
    for heatmap in heatmaps:
        figure = new_figure(size * 1.25, size * height / width + 0.5)
        axis = figure.subplots()
        axis.imshow(heated(picture, heatmap.values.numpy(), highest))
        axis.set(xticks=[], yticks=[])
        axis.set_title(_wrapped(heatmap.title, 60), fontsize=9)
        legend = figure.colorbar(ScalarMappable(scale, HEAT), ax=axis, fraction=0.046, pad=0.03)
        legend.set_label("activation", fontsize=8)
        overlays.append(rendered(figure))
    return np.stack(overlays)


def example_grid(
    heatmaps: Sequence[Heatmap], pictures: Sequence[np.ndarray], patches: Sequence[np.ndarray]
) -> np.ndarray:
    """A row for each of `heatmaps`: its picture, the map over it, its strongest patch; one scale. uint8 [h, w, 3]."""
    highest = max(float(heatmap.values.max()) for heatmap in heatmaps)
    rows = [
        [picture, heated(picture, heatmap.values.numpy(), highest), patch]
        for heatmap, picture, patch in zip(heatmaps, pictures, patches, strict=True)
    ]
    return picture_grid([heatmap.title for heatmap in heatmaps], ["picture", "where it fires", "strongest patch"], rows)


def heated(picture: np.ndarray, values: np.ndarray, highest: float) -> np.ndarray:
    """`picture`, uint8 [H, W, 3], in grey with activations [h, w] over it, coloured up to `highest`."""
    from matplotlib import colormaps

    height, width = picture.shape[:2]
    rows, columns = (np.arange(size) * count // size for size, count in zip((height, width), values.shape, strict=True))
    activations = values[rows][:, columns, None]  # each token as a square of pixels
    colours = colormaps[HEAT](activations[..., 0] / (highest or 1.0))[..., :3] * 255
    grey = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
    opacity = np.where(activations > 0, OPACITY, 0.0)
    blended: np.ndarray = grey * (1 - opacity) + colours * opacity
    return blended.round().astype(np.uint8)


def feature_bars(title: str, features: Sequence[Feature], labels: Mapping[int, str], rows: int = 0) -> np.ndarray:
    """Score, mean activations and firing rates of `features` as bars; uint8 [h, w, 3].

    At most `MAX_BARS` are drawn, and room is left for `rows` of them, so that figures of several steps have one size.
    """
    shown = features[:MAX_BARS]
    left_out = f" (the first {MAX_BARS} of {len(features)})" if len(features) > MAX_BARS else ""
    figure = new_figure(11, 1.4 + 0.3 * min(max(rows, len(shown), 1), MAX_BARS))
    figure.suptitle(title + left_out, fontsize=10)
    names = [_wrapped(named(feature.index, labels), 30) for feature in shown]
    for axis, (panel, columns) in zip(
        figure.subplots(1, len(BAR_PANELS), sharey=True), BAR_PANELS.items(), strict=True
    ):
        thickness = 0.8 / len(columns)
        for place, (field, label, colour) in enumerate(columns):
            known = [(row, getattr(f, field)) for row, f in enumerate(shown) if getattr(f, field) is not None]
            offset = (place - (len(columns) - 1) / 2) * thickness
            if known:
                places, values = zip(*known, strict=True)
                axis.barh([p + offset for p in places], values, thickness, color=colour, label=label)
        axis.set_title(panel, fontsize=9)
        axis.set_yticks(range(len(shown)), names, fontsize=8)
        axis.set_ylim(len(shown) - 0.4, -0.6)  # the best one on top
        axis.grid(axis="x", alpha=0.3)
        if not axis.patches:
            axis.text(0.5, 0.5, "not known", ha="center", transform=axis.transAxes)
        elif len(columns) > 1:
            axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)  # no bar lies below
    return rendered(figure)


def new_figure(width: float, height: float) -> Any:
    """Inches. Not through pyplot, whose state is shared with whatever else runs in the process."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="tight")


def rendered(figure: Any) -> np.ndarray:
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def _wrapped(label: str, width: int = 26) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, width)[:4])
