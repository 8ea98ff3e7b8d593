"""What a person would say about a workflow: columns of nodes from left to right, each node's inputs by name.

The front end makes a graph of it (`in_page.js`): it knows sizes, slots and the order of widget values.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomllib

from tools.host.unpack import REPOSITORY
from tools.host.unpack import VERSION as HOST_VERSION

NOTE = "MarkdownNote"


@dataclass(frozen=True)
class From:
    """A link: the output `output` of the node with this `key`."""

    key: str
    output: str


@dataclass(frozen=True)
class Node:
    """One node. `inputs` has links and widget values by name; widgets left out have the value the class declares.

    ``room`` is height beyond what the front end computes: for long texts, and for pictures, which come with a run.
    ``models`` are files to download: (name, where from, model folder).
    """

    key: str
    type: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    room: int = 0
    models: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Column:
    """Nodes below each other, of one width, in a group."""

    title: str
    nodes: Sequence[Node]
    width: int = 320


def number_nodes(columns: Sequence[Column]) -> dict[str, tuple[int, Node]]:
    """Key -> (id in the workflow, node): ids count from 1 in the order of the description.

    Raises:
        ValueError: two nodes with one key.
    """
    numbered: dict[str, tuple[int, Node]] = {}
    for id_, node in enumerate((node for column in columns for node in column.nodes), 1):
        if node.key in numbered:
            raise ValueError(f"Two nodes are called {node.key!r}.")
        numbered[node.key] = id_, node
    return numbered


def plan(name: str, columns: Sequence[Column]) -> dict[str, Any]:
    """The description of the workflow `name` as JSON, for `in_page.js`. Links are [key, output]."""
    ids = number_nodes(columns)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"saeuron/{name}")),
        "columns": [
            {
                "title": column.title,
                "width": column.width,
                "nodes": [_planned(ids[node.key][0], node) for node in column.nodes],
            }
            for column in columns
        ],
    }


def _planned(id_: int, node: Node) -> dict[str, Any]:
    values = {name: given for name, given in node.inputs.items() if not isinstance(given, From)}
    links = {name: [given.key, given.output] for name, given in node.inputs.items() if isinstance(given, From)}
    return {
        "key": node.key, "id": id_, "type": node.type, "title": node.title, "room": node.room,
        "values": values, "links": links, "properties": _properties(node),
    }  # fmt: skip


def _properties(node: Node) -> dict[str, Any]:
    """Where the node and what it loads come from, so that a Manager can fetch them."""
    if node.type == NOTE:
        return {}
    if not node.type.startswith("Saeuron"):
        properties: dict[str, Any] = {"cnr_id": "comfy-core", "ver": HOST_VERSION}
    else:
        properties = {"cnr_id": "saeuron", "ver": pack_version()}
    if node.models:
        properties["models"] = [{"name": name, "url": url, "directory": folder} for name, url, folder in node.models]
    return properties


def pack_version() -> str:
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
