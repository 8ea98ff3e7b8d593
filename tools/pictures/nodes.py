"""A picture of each node as the real front end draws it, with what it shows after a run where an example is quick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tools.host.browser import FOLDER, drive
from tools.host.server import ComfyServer
from tools.pictures.outputs import HELP_PICTURES, save
from tools.workflows.prompts import FOLDER as EXAMPLES

WITH_RUN = ("unlearn_miniature", "feature_set_by_hand", "forget_a_concept", "replace_a_concept")
WITHOUT_RUN = ("feature_heatmap", "compute_feature_set", "sweep_multiplier", "unlearn_several_concepts")


def picture_plan(node_ids: list[str]) -> dict[str, Any]:
    """For `nodes.mjs`: each node in the first example that has it, or alone."""
    left, examples = set(node_ids), []
    for name in (*WITH_RUN, *WITHOUT_RUN):
        workflow = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
        found = sorted(left & {node["type"] for node in workflow["nodes"]})
        left -= set(found)
        examples.append({"workflow": workflow, "run": name in WITH_RUN, "nodes": found})
    return {"examples": examples, "alone": sorted(left)}


def draw_nodes(server: ComfyServer) -> None:
    """Raises `tools.host.browser.NoBrowser`."""
    node_ids = [name for name in server.object_info() if name.startswith("Saeuron")]
    folder = FOLDER / "nodes"
    drive(Path(__file__).with_name("nodes.mjs"), server.address, folder, picture_plan(node_ids))
    for name in node_ids:
        with Image.open(folder / f"{name}.png") as picture:
            save(picture, HELP_PICTURES / f"{name}.png", 600)
