"""Workflows saved with earlier versions load in the front end, run, and give the pictures they gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY

SAVED = REPOSITORY / "tests" / "fixtures" / "workflows"
FILES = sorted(SAVED.glob("*/*.json"))
NEEDS_DOWNLOADS = {"unlearn_sdxl_turbo.json"}
MOST_DIFFERENCE = 2.0  # of 255 on average: another torch rounds otherwise


def label(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def to_be_run() -> list[Path]:
    """Those whose pictures were kept; the others need downloads, or minutes, and are only loaded."""
    return [path for path in FILES if pictures_of(path)]


def pictures_of(path: Path) -> list[Path]:
    """What its output nodes drew, as ``<name>.<node id>.png``."""
    return sorted(path.parent.glob(f"{path.stem}.*.png"))


def prompt_of(path: Path, seen: dict[str, Any]) -> dict[str, Any]:
    """What the front end sends of it."""
    return seen["saved"][label(path)]


@pytest.mark.parametrize("path", FILES, ids=label)
def test_every_value_finds_the_widget_it_was_saved_for(seen: dict[str, Any], server: ComfyServer, path: Path) -> None:
    """What is a choice must be among the choices: a shifted widget would not be."""
    info = server.object_info()
    for node in prompt_of(path, seen).values():
        if not node["class_type"].startswith("Saeuron"):
            continue
        declared = info[node["class_type"]]["input"]
        for name, value in node["inputs"].items():
            kind, options = (*{**declared.get("required", {}), **declared.get("optional", {})}[name], {})[:2]
            if kind == "COMBO" and path.name not in NEEDS_DOWNLOADS:
                assert value in options["options"], f"{node['class_type']}.{name}"
            if kind in ("INT", "FLOAT") and not isinstance(value, list):
                assert options["min"] <= value <= options["max"], f"{node['class_type']}.{name}"


@pytest.mark.parametrize("path", to_be_run(), ids=label)
def test_each_runs_and_draws_what_it_drew(seen: dict[str, Any], server: ComfyServer, path: Path) -> None:
    outputs = server.run(prompt_of(path, seen))
    pictures = {id_: server.image(output["images"][0]) for id_, output in outputs.items() if output.get("images")}
    assert pictures
    for expected in pictures_of(path):
        id_ = expected.name.split(".")[1]
        with Image.open(expected) as image:
            difference = np.abs(np.asarray(image.convert("RGB")).astype(float) - pictures[id_]).mean()
        assert difference < MOST_DIFFERENCE, f"node {id_}"
