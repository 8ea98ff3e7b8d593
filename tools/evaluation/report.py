"""The results as JSON, as tables in Markdown, and as a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMAND = "make evaluate"
COLUMNS = {
    "ua": "UA",
    "replaced": "Replaced",
    "ira": "IRA",
    "cra": "CRA",
    "clip": "CLIP similarity, concept",
    "clip_others": "CLIP similarity, others",
    "artifacts": "Rejected, concept",
    "artifacts_others": "Rejected, others",
    "kernel_distance": "Kernel distance, others",
    "identical_others": "Identical, others",
    "seconds": "Seconds",
}
WITH_INTERVALS = ("ua", "replaced", "ira", "cra", "artifacts", "identical_others")
"""Of the summary; the JSON has those of all shares and similarities."""

MISSING = "-"


def write_report(folder: Path, results: dict[str, Any]) -> None:
    """miniature.json, miniature.md and miniature.png in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "miniature.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "miniature.md").write_text(_markdown(results), encoding="utf-8")
    _plot(results["summary"]).savefig(folder / "miniature.png", dpi=100)


def _markdown(results: dict[str, Any]) -> str:
    settings = results["settings"]
    points, nag = settings["hookpoints"], settings["nag"]
    parts = [
        "# Results on the miniature",
        f"Written by `{COMMAND}`; every figure is in [miniature.json](miniature.json). They say how the method and "
        "this code do on the miniature, and nothing about SDXL-Turbo.",
        "UA: share of the concept's pictures on which the classifier does not see it. IRA: share of pictures of the "
        "other concepts of its domain on which the right one is seen. CRA: the same in the other domain. CLIP "
        "similarity: to the un-ablated picture of the same prompt and noise. Rejected: share of pictures that a judge "
        "of realism takes for spoilt ones; compare with the row off. Kernel distance: of features to those of the "
        "un-ablated pictures, an unbiased estimate, so it is below 0 where both are the same pictures; compare with "
        "off. Replaced: share of the concept's pictures that show what is to stand there instead, where something is. "
        "Identical: share of pictures that do not ask for the concept and are the un-ablated one to the last bit. "
        "Seconds: for one picture, and how many times what the model as it is took on the same machine at about the "
        "same time; off has a ratio, too, which shows how much of it is chance. In brackets 95 % intervals, bootstrap "
        "over pictures. "
        f"Held-out prompts, {settings['prompts']['heldout'] * settings['seeds_per_prompt']['heldout']} pictures of "
        f"every concept, {settings['steps']} steps; multipliers chosen on the prompts that features were found "
        "with, with other noise.",
        f"The SAE is at {points['objects']} for objects and at {points['styles']} for styles, where the miniature is "
        f"told what to draw; multipliers among {_listed(settings['multipliers']['objects'])}, and "
        f"{_listed(settings['multipliers']['styles'])}. {_published(settings)}CASteer: beta among "
        f"{_listed(settings['casteer']['betas'])}, vectors from {settings['casteer']['pairs']} pairs of prompts. NAG: "
        f"phi among {_listed(nag['phis'])}, tau {nag['tau']:g}, alpha {nag['alpha']:g}. "
        "By hand: the prompt with the concept's word exchanged for its neighbour's, or for a fixed one's.",
    ]
    for domain, rows in results["summary"].items():
        count = next(iter(rows.values()))["concepts"]
        parts += [f"## Mean over {count} {domain}", table(["Treatment", *COLUMNS.values()], _summary_rows(rows))]
    parts.append(_realism(results["realism_judge"], settings["real_pictures"]))
    parts += ["## Several removed together", _together(results["together"])]
    if tables := results["seed_tables"]:
        parts += ["## The seed notebook's tables", f"At {points['published']}.", *_seed_tables(tables)]
    parts += ["## Every concept, mode exact", _concepts(results["concepts"])]
    return "\n\n".join(parts) + "\n"


def _published(settings: dict[str, Any]) -> str:
    if not settings["published_multipliers"]:
        return ""
    return (
        f"Rows that name {settings['hookpoints']['published']} are at the published hookpoint; multipliers there among "
        f"{_listed(settings['published_multipliers'])}. "
    )


def _realism(error: dict[str, Any], learnt: int) -> str:
    caught = ", ".join(f"{kind} {share:.0%}" for kind, share in error["caught"].items())
    low, high = error["interval"]
    return (
        f"The judge of realism learned from {learnt} un-ablated pictures and plain backgrounds, and corrupted copies. "
        f"Its own error, on {error['pictures']} un-ablated pictures of held-out wordings that are used for nothing "
        f"else: it rejects {error['false_rejections']:.1%} of them ({low:.1%} to {high:.1%}), and "
        f"{error['empty_rejected']:.0%} of other plain backgrounds. Of corrupted copies of those pictures it rejects, "
        f"by kind of corruption: {caught}."
    )


def _listed(multipliers: Sequence[float]) -> str:
    return ", ".join(f"{m:g}" for m in multipliers)


def _summary_rows(rows: dict[str, Any]) -> list[list[str]]:
    return [[name, *(_cell(key, row) for key in COLUMNS)] for name, row in rows.items()]


def _cell(key: str, row: dict[str, Any]) -> str:
    if row.get(key) is None:
        return MISSING
    shown = show(key, row[key])
    if key == "seconds":
        return shown if row["times_off"] is None else f"{shown} (x {row['times_off']:.2f})"
    if key in WITH_INTERVALS:
        low, high = row["intervals"][key]
        return f"{shown} ({low:.0%} to {high:.0%})"
    return shown


def _together(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        for name, figures in row.items():
            if name == "removed":
                continue
            shown = [show(key, figures[key]) for key in ("ua", "ira", "cra")]
            lines.append([", ".join(row["removed"]), name, *shown, str(figures["pictures"])])
    return table(["Removed", "Treatment", "UA", "IRA", "CRA", "Pictures"], lines)


def _seed_tables(tables: dict[str, Any]) -> list[str]:
    shown = []
    for key, title in (("unlearning_accuracy", "UA"), ("clip_similarity", "CLIP similarity")):
        value = {"unlearning_accuracy": "ua"}.get(key, key)
        rows = [
            [row["concept"], row["mode"], f"{row['multiplier']:g}", show(value, row[value]), str(row["pictures"])]
            for row in tables[key]
        ]
        shown.append(table(["Concept", "Mode", "Multiplier", title, "Pictures"], rows))
    return shown


def _concepts(concepts: dict[str, Any]) -> str:
    rows = []
    for name, treatments in concepts.items():
        exact, off = treatments["exact"], treatments["off"]
        figures = [_interval(exact[key]) for key in ("ua", "ira", "cra")]
        before = f"{off['ua']['mean']:.1%} / {off['ira']['mean']:.1%} / {off['cra']['mean']:.1%}"
        rows.append([name, f"{exact['multiplier']:g}", *figures, before])
    return table(["Concept", "Multiplier", "UA", "IRA", "CRA", "Off: UA / IRA / CRA"], rows)


def _interval(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['mean']:.1%} ({low:.0%} to {high:.0%})"


def show(key: str, value: float) -> str:
    if key == "seconds":
        return f"{value:.2f}"
    return f"{value:.3f}" if key.startswith(("clip", "kernel")) else f"{value:.1%}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plot(summary: dict[str, Any]) -> Any:
    """One panel per domain: UA, IRA and CRA of every treatment."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(summary), 4.8), layout="tight")
    axes = figure.subplots(1, len(summary), squeeze=False)[0]
    for axis, (domain, rows) in zip(axes, summary.items(), strict=True):
        names = list(rows)
        for offset, (key, colour) in enumerate((("ua", "#D55E00"), ("ira", "#0072B2"), ("cra", "#009E73"))):
            places = [place + 0.26 * (offset - 1) for place in range(len(names))]
            axis.barh(places, [rows[name][key] for name in names], height=0.24, color=colour, label=COLUMNS[key])
        axis.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1), title=domain)
        axis.invert_yaxis()
        axis.legend(fontsize=8, loc="lower right")
    return figure
