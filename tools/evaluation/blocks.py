"""``python -m tools.evaluation.blocks``: what the miniature draws with one transformer block left out.

The most that any edit at a hookpoint can do by switching things off is to take the whole update of its block away. A
block without which the same things are drawn is one where a concept can't be switched off, only overwritten.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saeuron.evaluation.benchmark import DOMAINS
from saeuron.sae.hookpoints import FAMILIES
from tools.host.unpack import REPOSITORY
from tools.miniature.training import import_host

from .plan import FULL, TEST, probes
from .report import table
from .studio import Studio, add_dtype
from .treatment import OFF


@contextmanager
def left_out(unet: Any, modules: list[str]) -> Iterator[None]:
    """Inside, each of `modules` gives back what it gets."""
    handles = [unet.get_submodule(path).register_forward_hook(lambda _m, inputs, _o: inputs[0]) for path in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def recognised(studio: Studio) -> list[dict[str, Any]]:
    """Share of the benchmark's probes on which object and style are right: nothing, each block, all left out."""
    asked = probes(TEST, FULL)
    shots = [probe.shot for probe in asked]
    unet = studio.part("miniature")[0].get_model_object("diffusion_model")
    hookpoints = {point.name: [point.module] for point in FAMILIES["sdxl"]}
    everything = {"nothing": [], **hookpoints, "all of them": [path for paths in hookpoints.values() for path in paths]}
    rows = []
    for name, modules in everything.items():
        with left_out(unet, modules):
            pictures = studio.draw(shots, OFF)
        row: dict[str, Any] = {"left_out": name, "pictures": len(shots)}
        for domain in DOMAINS:
            wanted = np.array([probe.labels[domain] for probe in asked])
            row[domain] = round(float((np.array(studio.part(domain).classify(pictures)) == wanted).mean()), 4)
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.evaluation.blocks", description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "results")
    add_dtype(parser)
    arguments = parser.parse_args()
    import_host()
    with torch.inference_mode():
        rows = recognised(Studio(REPOSITORY / "output" / "evaluation" / "seen", FULL, arguments.dtype))
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "blocks.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    lines = [[row["left_out"], f"{row['objects']:.1%}", f"{row['styles']:.1%}"] for row in rows]
    (arguments.output / "blocks.md").write_text(
        "# The miniature with transformer blocks left out\n\nWritten by `python -m tools.evaluation.blocks`. Share of "
        f"{rows[0]['pictures']} pictures, every object in {FULL.probe_styles[TEST]} styles, on which the classifiers "
        "see the object and the style that were asked for. A block that is left out hands on its input.\n\n"
        + table(["Left out", "Object right", "Style right"], lines)
        + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
