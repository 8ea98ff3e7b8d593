"""Scenes as JSON, as a page, as a plot of what is gone against what is kept, and in pictures chosen by rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saeuron.evaluation import scenes as measures
from saeuron.evaluation.metrics import bootstrap

from .report import MISSING, table
from .treatments import BETA, MULTIPLIER, PHI

BOOTSTRAP_SEED = 0
JUDGED_ROW = "replace, look first"
"""Of which the best, the median and the worst target are shown: Replace Concept as it is meant for such pictures."""

SHOWN_ROWS = ("off", "exact", "replace, place sae", JUDGED_ROW, "CASteer", "by hand", "inpainting, replacement")
SHOWN_SCENES = 2
CLOSE = 0.03
"""Points of the plot with less between them, in both directions, share a label."""

CEILING = "inpainting"
"""How the names of rows begin that know the true place."""

FAMILIES = {
    "Unlearn, Replace Concept, Forget": ("#D55E00", ("exact", "saeuron-code", "replace", "forget")),
    "methods of others, and words": ("#0072B2", ("CASteer", "NAG", "negative prompt", "by hand")),
    "nothing removed, random features": ("#666666", ("off", "random features")),
    "ceiling: knows the true place": ("#009E73", (CEILING,)),
}
"""What the legend calls them -> colour, and how the names of their rows begin."""


class Cell(NamedTuple):
    name: str
    """``best``, ``median`` or ``worst``."""

    target: str
    right: int
    """Scenes in which the target is gone and the neighbour kept."""

    scenes: int


def document(
    dtype: str, asked: int, scenes: Sequence[Mapping[str, Any]], rows: Mapping[str, Mapping[str, list[Any]]]
) -> dict[str, Any]:
    """All that is written: JSON values, of every scene one by one."""
    settings = {"dtype": dtype, "asked": asked, "multiplier": MULTIPLIER, "beta": BETA, "phi": PHI}
    summary = {name: _summary(values) for name, values in rows.items()}
    return {"settings": settings, "summary": summary, "scenes": list(scenes), "rows": dict(rows)}


def _summary(values: Mapping[str, list[Any]]) -> dict[str, Any]:
    where = [share for share in values["where"] if share is not None]
    found: dict[str, Any] = {}
    for key in ("gone", "kept"):
        interval = bootstrap(np.array(values[key], float), seed=BOOTSTRAP_SEED)
        found[key] = {name: round(value, 4) for name, value in interval._asdict().items()}
    means = {key: round(float(np.mean(values[key])), 4) for key in ("out", "out_clip", "dual")}
    swaps = {swap: round(share, 4) for swap, share in measures.count(values["swap"]).items()}
    share = round(float(np.mean(where)), 4) if where else None
    return {**found, **means, "swaps": swaps, "where": share, "acted": len(where)}


def cells(document: Mapping[str, Any]) -> list[Cell]:
    """The best, the median and the worst target of `JUDGED_ROW`, by the share of scenes in which the target is gone and
    the neighbour kept, ties by mean DUAL and then by name; of an even number the better one is the median.
    """
    row, found = document["rows"][JUDGED_ROW], []
    targets = [scene["target"] for scene in document["scenes"]]
    for target in dict.fromkeys(targets):
        places = [place for place, own in enumerate(targets) if own == target]
        right = sum(row["gone"][place] and row["kept"][place] for place in places)
        dual = sum(row["dual"][place] for place in places) / len(places)
        found.append((-right / len(places), -dual, target, right, len(places)))
    found.sort()
    chosen = {"best": found[0], "median": found[(len(found) - 1) // 2], "worst": found[-1]}
    return [Cell(name, *cell[2:]) for name, cell in chosen.items()]


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """scenes.json, scenes.md and scenes.png in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenes.json").write_text(_json(document), encoding="utf-8")
    (folder / "scenes.md").write_text(_markdown(document), encoding="utf-8")
    _plot(document["summary"]).savefig(folder / "scenes.png", dpi=100)


def _json(value: Any, depth: int = 0) -> str:
    """Objects over several lines down to a measure's list of values, which has one line."""
    if depth < 3 and isinstance(value, dict):
        lines = ",\n".join(f"{json.dumps(key)}: {_json(item, depth + 1)}" for key, item in value.items())
        return f"{{\n{lines}\n}}" + ("\n" if depth == 0 else "")
    if depth == 1 and isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
    return json.dumps(value)


def _markdown(document: Mapping[str, Any]) -> str:
    settings, summary = document["settings"], document["summary"]
    best, median, worst = cells(document)
    parts = [
        "# Pictures of two things",
        "Written by `python -m tools.evaluation.scenes`; every scene is in [scenes.json](scenes.json). Of "
        f"{settings['asked']} held-out prompts for two things, {len(document['scenes'])} were drawn with both, each on "
        "its own half; only these count. One of the two is removed. On the miniature; it says nothing about a photo "
        "model.",
        "![What is gone against what is kept](scenes.png)",
        "Right and above is better. The dashed lines are the ceiling: inpainting by somebody who knows the true half.",
        table(
            [
                "Treatment",
                "Target gone",
                "Neighbour kept",
                "Change outside",
                "Likeness outside",
                "Likeness to the prompt without it",
                *(f"There: {swap}" for swap in measures.SWAPS),
                "Mask on its half",
            ],
            [[name, *_cells_of(figures)] for name, figures in summary.items()],
        ),
        "- *Target gone*: the judge of halves sees it on neither half (UA-scene); *neighbour kept*: it is seen on its "
        "own half (KEEP). In brackets 95 % intervals, bootstrap over scenes.\n"
        "- *Change outside* (OUT): mean squared error outside the target's half against the same seed with nothing "
        "removed, pixels 0 to 1; *likeness outside*: cosine of CLIP with the target's half blank, 1 is no change. The "
        "rows with cfg 2 are compared with cfg 1, too, so theirs is mostly of guidance.\n"
        "- *Likeness to the prompt without it* (DUAL): cosine of CLIP to the same seed's picture of the prompt that "
        "leaves the target out. It draws one thing, often larger, so *off* is what there is to compare with; and what "
        "puts something in the target's place is less like it than what leaves nothing there.\n"
        "- *There* (SWAP): what stands where the target was. Replace Concept and the prompt by hand exchange it for "
        "the object whose features are the most like its own.\n"
        "- *Mask on its half* (WHERE): of the scenes in which something was replaced.\n"
        "- *Look first*: Replace Concept and Forget with that switch on. The other rows of replacing differ in where "
        "they act: on the tokens that the SAE marks at the first step (`replace, place sae`, and `forget`), where the "
        "layers answer to the target, or where both say so.\n"
        "- *Inpainting*: the target's half of the picture with nothing removed is drawn anew with the model as it is "
        "(masked denoising, all steps), with a prompt for the replacement on that half, or for the neighbour on its "
        f"own.\n- `exact`, `saeuron-code` and the random features have the multiplier {settings['multiplier']:g}, "
        f"CASteer beta {settings['beta']:g} and NAG phi {settings['phi']:g}, for all targets.",
        "## In pictures",
        "![Best, median and worst](scenes.webp)",
        f"Targets in order of `{JUDGED_ROW}`: by the share of their scenes in which the target is gone and the "
        "neighbour kept, ties by likeness to the prompt without it. The best is "
        f"{_said(best)}, the median {_said(median)}, the worst {_said(worst)}. Of each the first {SHOWN_SCENES}.",
    ]
    return "\n\n".join(parts) + "\n"


def _said(cell: Cell) -> str:
    return f"{cell.target} ({cell.right} of {cell.scenes})"


def _cells_of(figures: Mapping[str, Any]) -> list[str]:
    shown = [f"{f['mean']:.0%} ({f['low']:.0%} to {f['high']:.0%})" for f in (figures["gone"], figures["kept"])]
    shown += [f"{figures['out']:.4f}", f"{figures['out_clip']:.3f}", f"{figures['dual']:.3f}"]
    shown += [f"{share:.0%}" for share in figures["swaps"].values()]
    return [*shown, f"{figures['where']:.0%} of {figures['acted']}" if figures["acted"] else MISSING]


def _plot(summary: Mapping[str, Any]) -> Any:
    """Each row a point with its intervals, numbered; the rows that know the true place as lines as well."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axis = figure.subplots()
    numbers = {name: number for number, name in enumerate(summary, 1)}
    for family, (colour, beginnings) in FAMILIES.items():
        own = [name for name in summary if name.startswith(beginnings)]
        kept, gone = ([summary[name][key] for name in own] for key in ("kept", "gone"))
        axis.errorbar(
            [each["mean"] for each in kept],
            [each["mean"] for each in gone],
            yerr=_ends(gone),
            xerr=_ends(kept),
            fmt="o",
            color=colour,
            elinewidth=0.6,
            label="\n".join([family, *(f"  {numbers[name]}  {name}" for name in own)]),
        )
        for name in own:
            if name.startswith(CEILING):
                axis.axvline(summary[name]["kept"]["mean"], color=colour, ls="--", lw=0.8)
                axis.axhline(summary[name]["gone"]["mean"], color=colour, ls="--", lw=0.8)
    for place, group in _close(summary).items():
        text = ", ".join(str(numbers[name]) for name in group)
        axis.annotate(text, place, (-6, -6), textcoords="offset points", fontsize=9, ha="right", va="top")
    axis.set(xlabel="neighbour kept (KEEP)", ylabel="target gone (UA-scene)", ylim=(-0.05, 1.05))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _ends(intervals: Sequence[Mapping[str, float]]) -> list[list[float]]:
    """Lengths of error bars, downwards and upwards."""
    return [[f["mean"] - f["low"] for f in intervals], [f["high"] - f["mean"] for f in intervals]]


def _close(summary: Mapping[str, Any]) -> dict[tuple[float, float], list[str]]:
    """Where a number is written -> the rows whose points are too close together for a number each."""
    groups: dict[tuple[float, float], list[str]] = {}
    for name, figures in summary.items():
        place = figures["kept"]["mean"], figures["gone"]["mean"]
        near = [other for other in groups if max(abs(a - b) for a, b in zip(place, other, strict=True)) < CLOSE]
        groups.setdefault(near[0] if near else place, []).append(name)
    return groups


def write_pictures(folder: Path, shown: Mapping[Cell, Mapping[str, np.ndarray]]) -> None:
    """scenes.webp: of each cell the first `SHOWN_SCENES` scenes, a column a row of the table."""
    from matplotlib.figure import Figure

    strips = [(cell, place) for cell in shown for place in range(min(SHOWN_SCENES, cell.scenes))]
    columns = list(next(iter(shown.values())))
    figure = Figure(figsize=(1.5 * len(columns), 1.5 * len(strips) + 0.3), layout="constrained")
    grid = figure.subplots(len(strips), len(columns), squeeze=False)
    for (cell, place), axes in zip(strips, grid, strict=True):
        for name, axis in zip(columns, axes, strict=True):
            axis.imshow(shown[cell][name][place])
            axis.set(xticks=[], yticks=[])
        axes[0].set_ylabel(f"{cell.name}: {cell.target}", fontsize=8)
    for name, axis in zip(columns, grid[0], strict=True):
        axis.set_title(name, fontsize=8)
    figure.savefig(folder / "scenes.webp", dpi=100, pil_kwargs={"quality": 80})
