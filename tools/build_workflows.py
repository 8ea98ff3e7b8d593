"""Build the shipped example workflows: `python -m tools.build_workflows`.

`tools.workflow_examples` describes a workflow by what a person would say about it: columns of nodes from left to
right, each node's inputs by name. `tools.workflow_format` makes files of it; building twice writes the same bytes.

Pictures beside the files (``<same name>.jpg``) are real results and come from another tool.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saeuron.json_text import format_json
from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY
from tools.workflow_examples import features, miniature, turbo
from tools.workflow_format import Column, build

FOLDER = REPOSITORY / "example_workflows"


def descriptions() -> dict[str, Sequence[Column]]:
    """File name without .json -> what is in it."""
    return {
        "unlearn_miniature": miniature.UNLEARN,
        "unlearn_sdxl_turbo": turbo.UNLEARN,
        "compute_feature_set": miniature.compute_feature_set(),
        "sweep_multiplier": miniature.sweep_multiplier(),
        "unlearn_several_concepts": features.unlearn_several(),
        "feature_heatmap": features.feature_heatmap(),
        "feature_set_by_hand": features.feature_set_by_hand(),
    }


def build_all(object_info: Mapping[str, Any]) -> dict[str, str]:
    """File name -> content."""
    return {
        f"{name}.json": format_json(build(name, columns, object_info)) + "\n"
        for name, columns in descriptions().items()
    }


def read_object_info(saved: Path | None) -> dict[str, Any]:
    """What `saved` holds, or the answer of a real server with the pack."""
    if saved is not None:
        return dict(json.loads(saved.read_text(encoding="utf-8")))
    with ComfyServer() as server:
        return server.object_info()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.build_workflows", description=__doc__.splitlines()[0])
    parser.add_argument("--object-info", type=Path, help="a saved answer to /object_info, instead of starting a server")
    parser.add_argument("--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, content in build_all(read_object_info(options.object_info)).items():
        (options.output / name).write_text(content, encoding="utf-8", newline="\n")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
