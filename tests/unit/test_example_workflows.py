"""The committed example workflows: what their descriptions say, complete, and readable on the canvas."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tools.host.unpack import REPOSITORY
from tools.workflows.description import Column, From, Node, number_nodes, pack_version
from tools.workflows.examples import DESCRIPTIONS
from tools.workflows.prompts import API_FOLDER, FOLDER, read_prompt

NAMES = sorted(DESCRIPTIONS)
PINNED = json.loads((REPOSITORY / "tests" / "fixtures" / "nodes.json").read_text(encoding="utf-8"))
NOTES = {"MarkdownNote"}
TITLE_HEIGHT, GAP = 30, 40
"""The title bar lies above a node's position. Nodes 2.0 draws nodes taller, so nothing stands closer than the gap."""


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def nodes_of(name: str) -> list[dict[str, Any]]:
    return load(name)["nodes"]


def test_each_description_has_its_files_and_a_picture() -> None:
    for folder, ending in ((FOLDER, "json"), (API_FOLDER, "json"), (FOLDER, "jpg")):
        assert sorted(path.stem for path in folder.glob(f"*.{ending}")) == NAMES


def output_number(nodes: dict[int, dict[str, Any]], id_: int, output: str) -> int:
    return [each["name"] for each in nodes[id_]["outputs"]].index(output)


@pytest.mark.parametrize("name", NAMES)
def test_committed_files_say_what_the_description_says(name: str) -> None:
    """Else run python -m tools.workflows. A browser test compares every byte."""
    described = number_nodes(DESCRIPTIONS[name])
    nodes = {node["id"]: node for node in nodes_of(name)}
    prompt = read_prompt(name)
    assert {id_: node.type for id_, node in described.values()} == {id_: node["type"] for id_, node in nodes.items()}
    assert set(prompt) == {str(id_) for id_, node in described.values() if node.type not in NOTES}
    for id_, node in described.values():
        assert not node.title or nodes[id_]["title"] == node.title
        if node.type in NOTES:
            assert nodes[id_]["widgets_values"] == [node.inputs["text"]]
            continue
        for input_, given in node.inputs.items():
            expected = given
            if isinstance(given, From):
                source = described[given.key][0]
                expected = [str(source), output_number(nodes, source, given.output)]
            assert prompt[str(id_)]["inputs"][input_] == expected, f"{node.key}.{input_}"


@pytest.mark.parametrize("name", NAMES)
def test_each_node_says_where_it_comes_from(name: str) -> None:
    workflow = load(name)
    assert workflow["version"] and workflow["id"].strip("0-")
    for node in workflow["nodes"]:
        if node["type"].startswith("Saeuron"):
            assert node["type"] in PINNED
            assert (node["properties"]["cnr_id"], node["properties"]["ver"]) == ("saeuron", pack_version())
        elif node["type"] not in NOTES:
            assert node["properties"]["cnr_id"] == "comfy-core" and node["properties"]["ver"]


@pytest.mark.parametrize("name", NAMES)
def test_every_socket_that_must_be_connected_is(name: str) -> None:
    optional = 7  # the shape of the slot
    for node in nodes_of(name):
        loose = [slot["name"] for slot in node["inputs"] if slot["link"] is None and slot.get("shape") != optional]
        assert not loose, f"{node['type']}: {loose}"


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_does_not_come_with_the_pack_is_listed(name: str) -> None:
    """The front end and the Manager offer what `models` lists."""
    for node in nodes_of(name):
        if node["type"] not in ("CheckpointLoaderSimple", "SaeuronLoadSAE"):
            continue
        chosen, models = node["widgets_values"][0], node["properties"].get("models", [])
        if chosen.startswith("miniature"):
            assert not models
            continue
        assert models and all(model["name"].startswith(chosen) for model in models)
        assert all(model["url"].startswith("https://") and model["directory"] for model in models)


def box(node: dict[str, Any], margin: int = 0) -> tuple[float, float, float, float]:
    """Left, top, right, bottom, with the title bar and `margin` below and to the right."""
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE_HEIGHT, left + width + margin, top + height + margin


@pytest.mark.parametrize("name", NAMES)
def test_nodes_stand_apart(name: str) -> None:
    for a, b in itertools.combinations(nodes_of(name), 2):
        (left, top, right, bottom), (left_b, top_b, right_b, bottom_b) = box(a, GAP), box(b, GAP)
        apart = right <= left_b or right_b <= left or bottom <= top_b or bottom_b <= top
        assert apart, f"{a['type']} {a['id']} and {b['type']} {b['id']}"


@pytest.mark.parametrize("name", NAMES)
def test_every_node_is_in_one_group(name: str) -> None:
    workflow = load(name)
    assert [group["title"] for group in workflow["groups"]] == [column.title for column in DESCRIPTIONS[name]]
    for node in workflow["nodes"]:
        left, top, right, bottom = box(node)
        around = [
            group["title"]
            for group in workflow["groups"]
            for (x, y, width, height) in [group["bounding"]]
            if x < left and y < top and right < x + width and bottom < y + height
        ]
        assert len(around) == 1, f"{node['type']} {node['id']} is in {around}"


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="Two nodes are called 'model'"):
        number_nodes([Column("A", [Node("model", "A")]), Column("B", [Node("model", "B")])])
