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
from saeuron.miniature.architecture import DECISIVE
from saeuron.sae.hookpoints import SDXL_UNBOX
from tools.host.unpack import REPOSITORY
from tools.miniature.build_feature_sets import FIT_LISTS, OVERLAP, collect, load_sae, select
from tools.miniature.training import import_host
from tools.pack import pack

from .plan import FULL, VALIDATION
from .report import COLUMNS, show, table
from .studio import Studio, add_dtype
from .treatment import Treatment, unlearning
from .treatments import Bench

CONCEPTS = (*(Concept("objects", name) for name in ("bears", "waterfalls")), Concept("styles", "contrast"))
MULTIPLIERS = (-0.1, -1.0, -5.0, -20.0, -60.0)
FIGURES_SHOWN = ("ua", "ira", "cra", "kernel_distance")
EVERY_HOOKPOINT = (*SDXL_UNBOX, *DECISIVE.values())


@dataclass(frozen=True)
class Variant:
    """One way of choosing features."""

    name: str
    hookpoints: tuple[str, ...] = ()
    """None: the one that decides on the concept's domain."""

    selection: dict[str, Any] = field(default_factory=dict)
    """Beside what the shipped feature sets were made with."""

    def hookpoints_for(self, concept: Concept) -> tuple[str, ...]:
        return self.hookpoints or (DECISIVE[concept.domain],)


ALL_FEATURES = {"overlap": 1.0}
VARIANTS = (
    Variant("as shipped: 10 features, overlap 0.1 for objects, 0.2 for styles"),
    Variant("5 features", selection={"tau": 5}),
    Variant("10 features, any overlap", selection=ALL_FEATURES),
    Variant("5 features, any overlap", selection={"tau": 5, **ALL_FEATURES}),
    Variant("40 features, any overlap", selection={"tau": 40, **ALL_FEATURES}),
    Variant("10 features for each step, any overlap", selection={"per_step": True, **ALL_FEATURES}),
    *(Variant(f"{name}, any overlap", (name,), ALL_FEATURES) for name in EVERY_HOOKPOINT),
    Variant("all six hookpoints at once, any overlap", EVERY_HOOKPOINT, ALL_FEATURES),
)


def compare(work: Path, dtype: str) -> list[dict[str, Any]]:
    """One row for each variant and concept, at the best of the multipliers."""
    bench = Bench(Studio(work / "seen", FULL, dtype), FULL)
    miniature = bench.studio.part("miniature")
    by_domain = {
        (hookpoint, domain): collect(0, miniature, load_sae(hookpoint), lists)
        for hookpoint in EVERY_HOOKPOINT
        for domain, lists in FIT_LISTS.items()
    }
    make = pack("saeuron.features.selection").SelectionSettings
    rows = []
    for variant in VARIANTS:
        for concept in CONCEPTS:
            points = variant.hookpoints_for(concept)
            settings = make(**{"overlap": OVERLAP.get(points[0], 1.0), **variant.selection})
            feature_sets = tuple(select(by_domain[point, concept.domain], settings)[concept.name] for point in points)
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
    return unlearning(feature_sets, (multiplier,) * len(feature_sets))


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
