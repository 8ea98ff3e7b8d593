"""``python -m tools.evaluation.scale``: whether Unlearn's rule ``relative`` has one useful range, into docs/results.

For every concept and SAE the same multipliers, and at each what is removed and what is left of the rest.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saeuron.evaluation.benchmark import Concept
from tools.host.unpack import REPOSITORY
from tools.miniature.build_feature_sets import HOOKPOINT
from tools.miniature.training import import_host

from .plan import ALL, SHORT
from .report import table
from .studio import Studio, add_dtype
from .treatment import Treatment, unlearn
from .treatments import Bench, decisive

MULTIPLIERS = (-25.0, -50.0, -75.0, -100.0)


def measured(bench: Bench, concept: Concept, hookpoint: str) -> list[dict[str, float]]:
    """For each multiplier UA, and the mean of IRA and CRA."""
    feature_set = bench.studio.feature_set(concept.name, hookpoint)
    rows = []
    for multiplier in MULTIPLIERS:
        figures = bench.figures(concept, Treatment((unlearn(feature_set, multiplier, rule="relative"),)))
        rows.append({"ua": figures.mean("ua"), "kept": (figures.mean("ira") + figures.mean("cra")) / 2})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.evaluation.scale", description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "results")
    parser.add_argument("--concepts", nargs="+", metavar="NAME", default=[concept.name for concept in ALL])
    add_dtype(parser)
    arguments = parser.parse_args()
    import_host()
    bench = Bench(Studio(REPOSITORY / "output" / "evaluation" / "seen", SHORT, arguments.dtype), SHORT)
    found: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        for concept in (concept for concept in ALL if concept.name in arguments.concepts):
            for hookpoint in dict.fromkeys((decisive(concept), HOOKPOINT)):
                found.setdefault(hookpoint, {})[concept.name] = measured(bench, concept, hookpoint)
            print(concept.name, flush=True)
    write(arguments.output, found, arguments.dtype)


def write(folder: Path, found: dict[str, dict[str, Any]], dtype: str) -> None:
    parts = [
        "# One scale for Unlearn",
        "Written by `python -m tools.evaluation.scale`: the rule `relative` with the same multipliers for each concept "
        "and SAE, on 10 held-out pictures of each concept and 20 of others. Mean over the concepts, in brackets the "
        "lowest.",
    ]
    for hookpoint, concepts in found.items():
        rows = []
        for place, multiplier in enumerate(MULTIPLIERS):
            shown = [
                f"{np.mean(values):.1%} ({np.min(values):.0%})"
                for values in ([own[place][key] for own in concepts.values()] for key in ("ua", "kept"))
            ]
            rows.append([f"{multiplier:g}", *shown])
        parts.append(f"## {hookpoint}, {len(concepts)} concepts")
        parts.append(table(["Multiplier", "UA", "Other objects and styles still right"], rows))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scale.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    document = {"multipliers": MULTIPLIERS, "dtype": dtype, "hookpoints": found}
    (folder / "scale.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
