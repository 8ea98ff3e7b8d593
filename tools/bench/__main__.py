"""``make bench``: how fast it is, each part alone by name; into output/bench.json and docs/performance.md.

Every ratio is of runs that took turns within one process; nothing is compared between two runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tools.bench.machine import this_machine
from tools.host.unpack import REPOSITORY
from tools.miniature.training import import_host

from . import collecting, compiling, edit, overhead, replacing, serving, training
from .rates import machine_rates
from .report import write_report

PARTS: dict[str, Callable[[], Any]] = {
    "edit": edit.against_dense,
    "growth": edit.growth,
    "overhead": overhead.measure,
    "overhead-1024": partial(overhead.measure, pixels=1024, repeats=1),
    "replace": replacing.measure,
    "collecting": collecting.measure,
    "slider": serving.slider,
    "start": serving.start,
    "loading": serving.loading,
    "compiling": compiling.measure,
    "training": training.measure,
}
OUTPUT = REPOSITORY / "output" / "bench.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    import_host()
    results: dict[str, Any] = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {}
    versions = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    results["machine"] = {**this_machine(), **versions, **machine_rates()}
    OUTPUT.parent.mkdir(exist_ok=True)
    for name in arguments.parts or PARTS:
        with torch.inference_mode():
            results[name] = PARTS[name]()
        print(name, json.dumps(results[name]), flush=True)
        OUTPUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_report(REPOSITORY / "docs" / "performance.md", results)


if __name__ == "__main__":
    main()
