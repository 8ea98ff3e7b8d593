"""Every example workflow: built as committed, converted without a missing node, and run where its weights are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.build_workflows import FOLDER, build_all
from tools.host.server import ComfyServer, ServerError
from tools.workflows import to_api

NAMES = sorted(path.name for path in FOLDER.glob("*.json"))
NEEDS_DOWNLOADS = {"unlearn_sdxl_turbo.json"}


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def test_committed_files_are_what_the_builder_writes(server: ComfyServer) -> None:
    built = build_all(server.object_info())
    assert sorted(built) == NAMES
    for name, content in built.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content, f"run python -m tools.build_workflows: {name}"


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_thumbnail_and_says_where_its_nodes_come_from(name: str) -> None:
    assert (FOLDER / name).with_suffix(".jpg").is_file()
    workflow = load(name)
    assert workflow["version"]
    for node in workflow["nodes"]:
        if node["type"] != "MarkdownNote":
            expected = "saeuron" if node["type"].startswith("Saeuron") else "comfy-core"
            assert node["properties"]["cnr_id"] == expected and node["properties"]["ver"], node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_offered_and_converts(server: ComfyServer, name: str) -> None:
    offered = server.get("/workflow_templates")
    assert name.removesuffix(".json") in next(names for pack, names in offered.items() if "SAeUron" in pack)
    prompt = to_api(load(name), server.object_info())
    assert any(node["class_type"] in ("SaeuronUnlearn", "SaeuronMultiplierSweep") for node in prompt.values())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_DOWNLOADS])
def test_each_runs_to_pictures(server: ComfyServer, name: str) -> None:
    outputs = server.run(to_api(load(name), server.object_info()))
    pictures = [server.image(entry) for output in outputs.values() for entry in output.get("images", [])]
    assert pictures and all(min(picture.shape[:2]) >= 192 and picture.std() > 5 for picture in pictures)


@pytest.mark.parametrize("name", sorted(NEEDS_DOWNLOADS))
def test_an_example_that_needs_downloads_lacks_nothing_else(server: ComfyServer, name: str) -> None:
    with pytest.raises(ServerError) as refusal:
        server.run(to_api(load(name), server.object_info()))
    wrong = {
        (error["type"], error["extra_info"]["input_name"])
        for node in refusal.value.node_errors.values()
        for error in node["errors"]
    }
    assert wrong and wrong <= {("value_not_in_list", "ckpt_name"), ("value_not_in_list", "sae_name")}
