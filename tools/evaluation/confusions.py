"""``python -m tools.evaluation.confusions``: what removing an object does to those like it, into docs/results.

Pictures of all other objects, ranked by how alike their SAE codes are to the removed one's (`neighbours.json`): on how
many the right object and the right style are still seen, and what is seen instead.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from saeuron.evaluation.benchmark import Concept
from tools.host.unpack import REPOSITORY
from tools.miniature.training import import_host

from .attack_plan import BUDGET
from .instead import NEIGHBOURS, instead_of
from .plan import SHORT, TEST, probes
from .report import table
from .studio import Studio, add_dtype
from .treatment import Treatment
from .treatments import Bench, with_one_setting

RANKS = {"1 to 3": range(3), "4 to 9": range(3, 9), "10 to 19": range(9, 19)}
"""Neighbours by likeness, in groups."""

ROWS = ("off", "exact", "replace", "forget", "CASteer")
STYLES_EACH = 2


def looked_at(studio: Studio, treatment: Treatment, label: str) -> list[dict[str, str]]:
    """For every picture that asks for another object: what was asked for, and what is seen."""
    asked = [each for each in probes(TEST, studio.scale) if each.labels["objects"] != label]
    pictures = studio.draw(treatment.shots([each.shot for each in asked]), treatment)
    seen, styles = (studio.part(domain).classify(pictures) for domain in ("objects", "styles"))
    return [
        {"asked": each.labels["objects"], "style": each.labels["styles"], "seen": thing, "seen_style": style}
        for each, thing, style in zip(asked, seen, styles, strict=True)
    ]


def measure(studio: Studio, objects: Sequence[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Treatment -> removed object -> pictures, each with the ``rank`` of the object asked for, 0 for the most alike."""
    likeness = json.loads(NEIGHBOURS.read_text(encoding="utf-8"))["cosines"]["objects"]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for label in objects:
        order = list(likeness[label])
        rows = with_one_setting(Bench(studio, studio.scale), Concept("objects", label))
        for name in ROWS:
            pictures = looked_at(studio, rows[name], label)
            found.setdefault(name, {})[label] = [{**each, "rank": order.index(each["asked"])} for each in pictures]
        print(label, flush=True)
    return found


def summary(found: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """Treatment -> shares by rank, the style, and how often the removed object or what stands instead is seen."""
    rows = {}
    for name, by_object in found.items():
        everything = [(label, each) for label, pictures in by_object.items() for each in pictures]
        right = {
            group: _share([each["seen"] == each["asked"] for _, each in everything if each["rank"] in ranks])
            for group, ranks in RANKS.items()
        }
        wrong = [(label, each) for label, each in everything if each["seen"] != each["asked"]]
        instead = {label: instead_of(Concept("objects", label), "neighbour") for label in by_object}
        rows[name] = {
            "right": right,
            "style": _share([each["style"] == each["seen_style"] for _, each in everything]),
            "pictures": len(everything),
            "removed_seen": sum(each["seen"] == label for label, each in wrong),
            "instead_seen": sum(each["seen"] == instead[label] for label, each in wrong),
            "confusions": Counter(f"{label}: {each['asked']} as {each['seen']}" for label, each in wrong).most_common(),
        }
    return rows


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4)


def write(folder: Path, rows: dict[str, dict[str, Any]], objects: Sequence[str], dtype: str) -> None:
    """neighbours.json and neighbours.md in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"objects": list(objects), "dtype": dtype, "rows": rows}
    (folder / "neighbours.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    lines = [
        [
            name,
            *(f"{share:.1%}" for share in row["right"].values()),
            f"{row['style']:.1%}",
            str(row["removed_seen"]),
            str(row["instead_seen"]),
        ]
        for name, row in rows.items()
    ]
    heads = [f"Neighbours {group}" for group in RANKS]
    head = ["Treatment", *heads, "Style right", "Seen as the removed one", "Seen as its replacement"]
    confusions = "\n".join(
        f"- *{name}*: {'; '.join(f'{what} ({count})' for what, count in row['confusions']) or 'none'}."
        for name, row in rows.items()
    )
    text = (
        "# What becomes of the neighbours\n\nWritten by `python -m tools.evaluation.confusions`. One object is removed "
        f"({', '.join(objects)}, in turn), and pictures of the 19 others are drawn, {STYLES_EACH} styles each: "
        f"{rows['off']['pictures']} held-out pictures a row. Share on which the right object is seen, by how alike its "
        "SAE codes are to the removed one's (1 is the most alike), and on which the style is right; how often the "
        "removed object, or what `replace` draws for it, is seen where another one was asked for. The miniature's "
        "captions give a picture one style for all of it, so what of the removed object's own style goes over to a "
        f"neighbour in the same picture can't be asked.\n\n{table(head, lines)}\n\n"
        f"Every mistake, as *removed: asked for as seen*:\n\n{confusions}\n"
    )
    (folder / "neighbours.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.evaluation.confusions", description=__doc__)
    parser.add_argument("--objects", nargs="+", metavar="NAME", default=list(BUDGET.objects))
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "results")
    add_dtype(parser)
    arguments = parser.parse_args()
    import_host()
    scale = replace(SHORT, probe_styles={**SHORT.probe_styles, TEST: STYLES_EACH})
    studio = Studio(REPOSITORY / "output" / "evaluation" / "seen", scale, arguments.dtype, clock=0)
    with torch.inference_mode():
        rows = summary(measure(studio, arguments.objects))
    write(arguments.output, rows, arguments.objects, arguments.dtype)


if __name__ == "__main__":
    main()
