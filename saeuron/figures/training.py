"""How a training of SAEs went, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .plots import new_figure, rendered

POINTS = 400
"""Of a curve: losses between are averaged, which a plot could not show one by one."""


def training_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """`figures` as `figures_of` gives them."""
    lines = []
    for name, one in figures.items():
        lines.append(f"{name}: leaves {one['unexplained']:.2%} of the variance unexplained after {one['steps']} steps")
        by_step = ", ".join(f"{share:.1%}" for share in one["unexplained_by_step"])
        lines.append(f"  of each step's variance: {by_step}")
        lines.append(
            f"  {one['features_a_token']:.1f} features a token, {one['dead']:.1%} dead, "
            f"{one['always_on']:.1%} always on"
        )
        offsets = ", ".join(f"{offset:.2f}" for offset in one["mean_to_deviation"])
        lines.append(f"  |mean| / deviation of each step: {offsets}")
        if one["loss_recovered"] is not None:
            lines.append(f"  recovers {one['loss_recovered']:.1%} of the diffusion loss that leaving it out costs")
        if one["auc"]:
            areas = list(one["auc"].values())
            worst = min(one["auc"], key=lambda label: one["auc"][label])
            lines.append(
                f"  one feature detects a label with AUC {sum(areas) / len(areas):.3f} in the mean of {len(areas)}; "
                f"{min(areas):.3f} for {worst}"
            )
    return "\n".join(lines)


def training_plot(losses: Sequence[float], evaluated: Sequence[tuple[int, float]], title: str) -> np.ndarray:
    """uint8 [h, w, 3]: the loss of each step, and at some of them the share of held-out variance left unexplained."""
    figure = new_figure(6, 3.6)
    axis = figure.subplots()
    width = max(1, len(losses) // POINTS)
    means = [float(np.mean(losses[start : start + width])) for start in range(0, len(losses), width)]
    axis.plot([width * (place + 0.5) for place in range(len(means))], means, color="#0072B2", label="loss, training")
    if evaluated:
        steps, shares = zip(*evaluated, strict=True)
        axis.plot(steps, shares, "o-", color="#D55E00", label="unexplained variance, held out")
    axis.set(xlabel="step", title=title, yscale="log")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axis.grid(alpha=0.3)
    axis.legend()
    return rendered(figure)
