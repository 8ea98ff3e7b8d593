"""docs/performance.md from the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from tools.evaluation.report import table

from .edit import FEATURES, RATE, D
from .timing import ratios
from .training import training_section


def write_report(path: Path, results: dict[str, Any]) -> None:
    machine = results["machine"]
    parts = [
        "# Performance",
        f"Written by `make bench` (one part: `make bench ARGS=edit`). {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}, float32. At best it multiplies matrices at "
        f"{machine['gflops']:.0f} GFLOP/s and moves memory at "
        f"{machine['gb_per_second']:.0f} GB/s. Medians of runs that take turns in one process. Random weights where "
        "the size is SDXL's; nothing here was measured on a GPU.",
    ]
    sections: dict[str, Callable[[Any, dict[str, Any]], str]] = {
        "overhead": _overhead,
        "overhead-1024": _overhead,
        "replace": _replace,
        "edit": _edit,
        "growth": _growth,
        "collecting": _collecting,
        "slider": _slider,
        "start": _start,
        "loading": _loading,
        "compiling": _compiling,
        "training": training_section,
    }
    parts += [section(results[name], machine) for name, section in sections.items() if name in results]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _overhead(found: dict[str, Any], _machine: dict[str, Any]) -> str:
    share = found["edit_share_of_step"]
    rows = [[*row, f"{share[row[0]]:.2%}" if row[0] in share else ""] for row in _step_rows(found["seconds"])]
    profile = [[f"`{name}`", f"{value:.3f}"] for name, value in found["profile_seconds"].items()]
    return (
        f"## A step of SDXL at {found['pixels']} px\n\nThe UNet at full size, batch 1, one step; an SAE of "
        f"sdxl-unbox's size (n 5120, k 10), {FEATURES} features for each concept, those that fire nearest to "
        f"{RATE:.0%} of the tokens. {_rounds(found['seconds'])} The last column is from a profile: the part of one "
        "step that is spent in the edit; whole steps vary by more. Goals: a patched step at most 1.01 of a plain one, "
        "16 concepts at most 1.05 of one.\n\n"
        + table([*STEP_COLUMNS, "Edit's share of the step"], rows)
        + "\n\nWhere the time of a patched step goes (self CPU seconds under the profiler):\n\n"
        + table(["Operation", "Seconds"], profile)
    )


def _replace(found: dict[str, Any], _machine: dict[str, Any]) -> str:
    first = {row[0]: row[1:] for row in _step_rows(found["first"])}
    rows = [[*row, *first[row[0]]] for row in _step_rows(found["later"])]
    return (
        f"## Replacing a concept at {found['pixels']} px\n\nThe UNet at full size, batch 1, one Replace Concept at "
        f"full strength; an SAE of sdxl-unbox's size (n {found['n']}, k {found['k']}) at up_blocks.0.attentions.1. "
        f"{_rounds(found['later'])} Where a gate opens, the first step is stopped behind that block and run again, and "
        "each layer reads the two texts; later steps only answer to them for the marked tokens. Goals: with a closed "
        "gate at most 1.01 of a plain step, with an open one at most 1.10 for each step after the first, and at most "
        "one call of the UNet more in a run.\n\n"
        + table([*STEP_COLUMNS, "First step, seconds", "First step's ratio to off"], rows)
    )


STEP_COLUMNS = ("Patched", "Seconds", "Ratio to off in the same round")


def _rounds(seconds: dict[str, list[float]]) -> str:
    repeats = len(seconds["off"])
    return "One round." if repeats == 1 else f"Median of {repeats} rounds, in brackets from the least to the most."


def _step_rows(seconds: dict[str, list[float]]) -> list[list[str]]:
    rows = []
    for name, values in seconds.items():
        to_off = ratios(seconds, name, "off")
        spread = f" ({min(to_off):.3f} to {max(to_off):.3f})" if len(to_off) > 1 else ""
        rows.append([name, f"{median(values):.2f}", "1" if name == "off" else f"{median(to_off):.3f}{spread}"])
    return rows


def _edit(found: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    rows = []
    for row in found:
        ms, mib = row["ms"], row["extra_mib"]
        floor = 2 * row["tokens"] * row["n"] * D / machine["gflops"] / 1e6
        rows.append(
            [
                str(row["tokens"]), f"{row['n']} / {row['k']}", f"{ms['dense']:.1f}", f"{ms['encoder and top-k']:.1f}",
                f"{floor:.1f}", f"{ms['ours']:.1f}", f"{ms['dense'] / ms['ours']:.1f}",
                f"{ms['ours'] / ms['encoder and top-k']:.2f}", f"{mib['dense']:.0f}", f"{mib['ours']:.0f}",
            ]
        )  # fmt: skip
    head = [
        "Tokens", "n / k", "Dense, ms", "Encoder and top-k, ms", "Floor of the encoder, ms", "Ours, ms",
        "Dense / ours", "Ours / encoder", "Dense, MiB", "Ours, MiB",
    ]  # fmt: skip
    return (
        "## The edit by itself\n\nMode `exact` against the arithmetic of published code: every code as n numbers, "
        "decoded twice. The results agree to rounding. The floor is the encoder's product at the machine's best rate; "
        "we are below it because only tokens on which a selected feature is above its threshold are encoded, and that "
        "is decided by a product with the selected columns alone. Goals: 3 times as fast as dense, at most 1.3 times "
        "the bare encoder with top-k, a third of the memory.\n\n" + table(head, rows)
    )


def _growth(found: list[dict[str, Any]], _machine: dict[str, Any]) -> str:
    rows = [
        [str(row["tokens"]), str(row["n"]), f"{row['ms']['ours']:.1f}", f"{row['ms']['encoder and top-k']:.1f}"]
        for row in found
    ]
    by_tokens = [row for row in found if row["n"] == found[0]["n"]]
    by_n = [row for row in found if row["tokens"] == 1024]
    tokens, sizes = (_ratio(part, key) for part, key in ((by_tokens, "tokens"), (by_n, "n")))
    return (
        "## Growth\n\n"
        + table(["Tokens", "n", "Ours, ms", "Encoder and top-k, ms"], rows)
        + f"\n\nWith {tokens[0]:.0f} times the tokens the edit takes {tokens[1]:.0f} times as long, with "
        f"{sizes[0]:.0f} times the features {sizes[1]:.0f} times."
    )


def _ratio(rows: list[dict[str, Any]], key: str) -> tuple[float, float]:
    first, last = rows[0], rows[-1]
    return last[key] / first[key], last["ms"]["ours"] / first["ms"]["ours"]


def _collecting(found: dict[str, Any], _machine: dict[str, Any]) -> str:
    rates, peaks = found["pictures_per_second"], found["peak_mib"]
    memory = ", ".join(f"{value:.0f} MiB for {count} prompts" for count, value in peaks.items())
    return (
        f"## Collecting statistics\n\nOn the miniature {rates['collecting']:.2f} pictures a second, plain sampling "
        f"{rates['plain']:.2f}: {rates['collecting'] / rates['plain']:.3f} of it (goal 0.97; the miniature's steps are "
        f"tiny, so this is its worst case). Peak memory of the process: {memory}."
    )


def _slider(found: dict[str, Any], machine: dict[str, Any]) -> str:
    steps, decoding, whole = (found["milliseconds"][part] for part in ("steps", "decoding", "whole"))
    floor = 1000 * found["decoding_gflop"] / machine["gflops"]
    parts = {
        "The sampler's 8 steps": steps,
        "Decoding the latent": decoding,
        "The rest: queue, Unlearn, around the steps, preview": whole - steps - decoding,
        "Whole": whole,
    }
    rows = [[name, f"{value:.0f}", f"{value / whole:.0%}"] for name, value in parts.items()]
    return (
        "## The slider\n\nOn the miniature through the server, everything else cached, from queue to picture; median "
        f"of {found['pictures']}. Goals: 1.5 s, 15 % of it outside sampling.\n\n"
        + table(["Spent on", "ms", "Share"], rows)
        + f"\n\nDecoding takes {found['decoding_gflop']:.1f} GFLOP, which is {floor:.0f} ms at the machine's best rate."
    )


def _start(found: dict[str, Any], _machine: dict[str, Any]) -> str:
    seconds = found["seconds"]
    return (
        f"## The host's start\n\n{seconds['without']:.2f} s without the pack, {seconds['with']:.2f} s with it; the "
        f"host's log says {found['import_as_logged']:.1f} s for the pack (goal 0.3)."
    )


def _loading(found: dict[str, Any], _machine: dict[str, Any]) -> str:
    rows = [[name, f"{value:.3f}"] for name, value in found.items()]
    return "## Loading a full-size SAE\n\nGoal 0.3 s from safetensors.\n\n" + table(["File", "Seconds"], rows)


def _compiling(found: dict[str, Any], _machine: dict[str, Any]) -> str:
    counted = found["counted"]
    rows = [
        [*row, *(str(counted[row[0]][key]) if row[0] in counted else "" for key in ("graphs", "graph breaks"))]
        for row in _step_rows(found["seconds"])
    ]
    return (
        "## torch.compile\n\nThe same step at 512 px, compiled by Inductor in the order of the rows. "
        f"{_rounds(found['seconds'])} To the compiler an edit is one operation in the UNet's only graph, and what it "
        "does is asked for when it runs, so nothing is compiled again when the slider moves. Goals: at most two graph "
        "breaks, an edited step at most 1.02 of a plain one.\n\n"
        + table([*STEP_COLUMNS, "Graphs compiled", "Graph breaks"], rows)
    )
