"""``python -m tools.evaluation.variants``: what other choices of features and hookpoint would do, into docs/results.

Everything is done on the validation split, so that nothing is chosen by the pictures that results are reported on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from saeuron.evaluation.benchmark import Concept, choose_multiplier
from saeuron.hookpoints import SDXL_UNBOX
from saeuron.miniature.architecture import DECISIVE
from tools.host import REPOSITORY
from tools.miniature.build_feature_sets import FIT_LISTS, collect, load_sae, select
from tools.miniature.training import import_host
from tools.pack import pack

from .plan import FULL, VALIDATION
from .report import COLUMNS, show, table
from .studio import Studio, Treatment, add_dtype
from .treatments import Bench

CONCEPTS = (*(Concept("objects", name) for name in ("cats", "waterfalls")), Concept("styles", "gray"))
MULTIPLIERS = (-1.0, -3.0, -10.0, -30.0)
FIGURES_SHOWN = ("ua", "ira", "cra", "kernel_distance")
EVERY_HOOKPOINT = (*SDXL_UNBOX, *DECISIVE.values())


@dataclass(frozen=True)
class Variant:
    """One way of choosing features; the defaults are what the shipped feature sets were made with."""

    name: str
    hookpoints: tuple[str, ...] = ()
    """None: the one that decides on the concept's domain."""

    selection: dict[str, Any] = field(default_factory=dict)

    def hookpoints_for(self, concept: Concept) -> tuple[str, ...]:
        return self.hookpoints or (DECISIVE[concept.domain],)


VARIANTS = (
    Variant("10 features (default)"),
    Variant("5 features", selection={"tau": 5}),
    Variant("20 features", selection={"tau": 20}),
    Variant("40 features", selection={"tau": 40}),
    Variant("10 features for each step", selection={"per_step": True}),
    *(Variant(name, (name,)) for name in EVERY_HOOKPOINT),
    Variant("the last two hookpoints at once", tuple(DECISIVE.values())),
    Variant("all six hookpoints at once", EVERY_HOOKPOINT),
)


def compare(work: Path, dtype: str) -> list[dict[str, Any]]:
    """One row for each variant and concept, at the best of the multipliers."""
    bench = Bench(Studio(work / "seen", FULL, dtype), FULL)
    every_list = [name for domain in FIT_LISTS.values() for name in domain]
    statistics = {
        hookpoint: collect(0, bench.studio.part("miniature"), load_sae(hookpoint), every_list)
        for hookpoint in EVERY_HOOKPOINT
    }
    rows = []
    for variant in VARIANTS:
        settings = pack("saeuron.selection").SelectionSettings(**variant.selection)
        used = {point for concept in CONCEPTS for point in variant.hookpoints_for(concept)}
        selected = {hookpoint: select(statistics[hookpoint], settings) for hookpoint in used}
        for concept in CONCEPTS:
            feature_sets = tuple(selected[point][concept.name] for point in variant.hookpoints_for(concept))
            rows.append({"variant": variant.name, **_best(bench, concept, feature_sets)})
            print(rows[-1], flush=True)
    return rows


def _best(bench: Bench, concept: Concept, feature_sets: tuple[Any, ...]) -> dict[str, Any]:
    tried = {m: bench.figures(concept, _with(feature_sets, m), VALIDATION) for m in MULTIPLIERS}
    best = choose_multiplier(MULTIPLIERS, tried.__getitem__)
    means = {name: round(tried[best].mean(name), 4) for name in ("ua", "ira", "cra")}
    return {
        "concept": concept.name,
        "multiplier": best,
        **means,
        "kernel_distance": round(tried[best].kernel_distance, 4),
    }


def _with(feature_sets: tuple[Any, ...], multiplier: float) -> Treatment:
    return Treatment(feature_sets, (multiplier,) * len(feature_sets))


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.evaluation.variants", description=__doc__)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "output" / "evaluation")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "results")
    add_dtype(parser)
    arguments = parser.parse_args()
    import_host()
    with torch.inference_mode():
        rows = compare(arguments.work, arguments.dtype)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "variants.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (arguments.output / "variants.md").write_text(_markdown(rows), encoding="utf-8")


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = []
    for variant in VARIANTS:
        of_variant = [row for row in rows if row["variant"] == variant.name]
        means = {key: sum(row[key] for row in of_variant) / len(of_variant) for key in FIGURES_SHOWN}
        chosen = ", ".join(f"{row['multiplier']:g}" for row in of_variant)
        lines.append([variant.name, chosen, *(show(key, means[key]) for key in FIGURES_SHOWN)])
    names = ", ".join(concept.name for concept in CONCEPTS)
    pictures = FULL.prompts[VALIDATION] * FULL.seeds[VALIDATION]
    return (
        "# Other choices of features and hookpoint\n\nWritten by `python -m tools.evaluation.variants`. Mean over "
        f"{names}; mode exact, the best of the multipliers {', '.join(f'{m:g}' for m in MULTIPLIERS)} for each "
        f"concept, {pictures} pictures of each concept and one of every object. These are validation figures: the same "
        "pictures chose the multiplier, so they are a little too good, for every variant alike. "
        f"Hookpoint {DECISIVE['objects']} for objects and {DECISIVE['styles']} for styles where no other is "
        "named.\n\n" + table(["Variant", "Multipliers", *(COLUMNS[key] for key in FIGURES_SHOWN)], lines) + "\n"
    )


if __name__ == "__main__":
    main()
