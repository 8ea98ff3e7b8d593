"""Write a workflow in the front end's format (version 0.4) from columns of nodes with inputs by name.

Ids, sizes, places and the order of widget values follow from the server's ``object_info``; the result depends on
nothing else. What the front end would make of the result is checked against the description (`tools.workflows`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomllib

from tools.host.unpack import REPOSITORY
from tools.host.unpack import VERSION as HOST_VERSION
from tools.workflows import DeclaredInput, WorkflowError, declared_input, to_api

FRONTEND_VERSION = "1.32.9"
NOTE = "MarkdownNote"

TITLE, SLOT, WIDGET, BOTTOM = 30, 20, 24, 6
"""Heights in the front end's units: the title bar, which lies above a node's position; a slot; a widget; the rest."""

GAP, PADDING, GROUP_TITLE = 30, 20, 50


@dataclass(frozen=True)
class From:
    """A link: the output `output` of the node with this `key`."""

    key: str
    output: str


@dataclass(frozen=True)
class Node:
    """One node. `inputs` has links and widget values by name; widgets left out have the value the class declares.

    ``room`` is height for what comes besides slots and one-line widgets: long texts, pictures. ``models`` are files to
    download: (name, where from, model folder).
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


def build(name: str, columns: Sequence[Column], object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow `name`. Links may lead from earlier nodes to later ones only: columns from left to right.

    Raises:
        WorkflowError: the description names a node, an input or an output that is not there, or leaves one out.
    """
    nodes = [node for column in columns for node in column.nodes]
    built: dict[str, dict[str, Any]] = {}
    links: list[list[Any]] = []
    for order, node in enumerate(nodes):
        if node.key in built:
            raise WorkflowError(f"Two nodes are called {node.key!r}.")
        built[node.key] = _node(order, node, built, links, object_info)
    groups = list(_lay_out(columns, built))
    workflow = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"saeuron/{name}")),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": list(built.values()),
        "links": links,
        "groups": groups,
        "config": {},
        "extra": {"frontendVersion": FRONTEND_VERSION},
        "version": 0.4,
    }
    _check(workflow, nodes, built, object_info)
    return workflow


def _node(
    order: int, node: Node, built: Mapping[str, dict[str, Any]], links: list[list[Any]], object_info: Mapping[str, Any]
) -> dict[str, Any]:
    """One node without its place; its links are added to `links` and to the outputs they come from."""
    info = _note_info() if node.type == NOTE else object_info.get(node.type)
    if info is None:
        raise WorkflowError(f"Node {node.key}: the server does not know {node.type}.")
    declared = _declared_inputs(info)
    if unknown := set(node.inputs) - {input_.name for input_, _ in declared}:
        raise WorkflowError(f"Node {node.key} ({node.type}) has no input {', '.join(sorted(unknown))}.")
    slots: list[dict[str, Any]] = []
    values: list[Any] = []
    for input_, optional in declared:
        given = node.inputs.get(input_.name)
        slot: dict[str, Any] = {"name": input_.name, "type": input_.type, "link": None}
        if optional:
            slot["shape"] = 7
        if input_.widget_type is not None:
            slot["widget"] = {"name": input_.name}
            values += [_widget_value(node, input_), *["fixed", ""][: input_.extra_widgets]]
        elif given is None and not optional:
            raise WorkflowError(f"Node {node.key} ({node.type}): nothing is connected to {input_.name}.")
        if isinstance(given, From):
            slot["link"] = link = len(links) + 1
            links.append([link, *_source(node, input_, given, built, link), order + 1, len(slots), input_.type])
        slots.append(slot)
    sockets = sum("widget" not in slot for slot in slots)
    outputs = [
        {"name": name, "type": type_, "slot_index": index, "links": []}
        for index, (name, type_) in enumerate(zip(info["output_name"], info["output"], strict=True))
    ]
    # As LiteGraph's computeSize.
    height = SLOT * max(sockets, len(outputs)) + (WIDGET * len(values) + 8 if values else 0) + BOTTOM + node.room
    look = {"title": node.title} if node.title else {}
    if node.type == NOTE:
        slots, look = [], {**look, "color": "#432", "bgcolor": "#653"}
    return {
        "id": order + 1, "type": node.type, "pos": [0, 0], "size": [0, height], "flags": {}, "order": order, "mode": 0,
        "inputs": slots, "outputs": outputs, **look, "properties": _properties(node), "widgets_values": values,
    }  # fmt: skip


def _note_info() -> Mapping[str, Any]:
    """A note exists in the front end only, so the server does not describe it."""
    return {"input": {"required": {"text": ["STRING", {"multiline": True}]}}, "output": [], "output_name": []}


def _declared_inputs(info: Mapping[str, Any]) -> list[tuple[DeclaredInput, bool]]:
    """The inputs of a class, each with whether it is optional, in the order of the front end: sockets, then widgets."""
    declared = [
        (declared_input(name, info["input"][part][name]), part == "optional")
        for part in ("required", "optional")
        for name in info.get("input_order", {}).get(part) or info["input"].get(part) or {}
    ]
    return sorted(declared, key=lambda pair: pair[0].widget_type is not None)


def _widget_value(node: Node, input_: DeclaredInput) -> Any:
    given = node.inputs.get(input_.name)
    if given is not None and not isinstance(given, From):
        return given
    if "default" not in input_.options:
        # The first of a list of files depends on the machine.
        raise WorkflowError(f"Node {node.key} ({node.type}): say which {input_.name}, it has no default.")
    return input_.default


def _source(
    node: Node, input_: DeclaredInput, source: From, built: Mapping[str, dict[str, Any]], link: int
) -> tuple[int, int]:
    """Node id and number of the output that `source` names, which is told of its new link."""
    where = f"{source.key}.{source.output}, which goes to {node.key}.{input_.name},"
    if source.key not in built:
        raise WorkflowError(f"{where} is no node before it.")
    for output in built[source.key]["outputs"]:
        if output["name"] == source.output:
            if input_.type not in (output["type"], "*"):
                raise WorkflowError(f"{where} is of type {output['type']}, expected {input_.type}.")
            output["links"].append(link)
            return built[source.key]["id"], output["slot_index"]
    raise WorkflowError(f"{where} is no output of it.")


def _properties(node: Node) -> dict[str, Any]:
    properties: dict[str, Any] = {"Node name for S&R": node.type}
    if node.type.startswith("Saeuron"):
        properties |= {"cnr_id": "saeuron", "ver": _pack_version()}
    elif node.type != NOTE:
        properties |= {"cnr_id": "comfy-core", "ver": HOST_VERSION}
    if node.models:
        properties["models"] = [{"name": name, "url": url, "directory": folder} for name, url, folder in node.models]
    return properties


def _pack_version() -> str:
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def _lay_out(columns: Sequence[Column], built: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give every node of every column its place and width, and yield the columns' groups."""
    left = 0
    for number, column in enumerate(columns, 1):
        bottom = GROUP_TITLE
        for node in column.nodes:
            placed = built[node.key]
            placed["pos"] = [left + PADDING, bottom + TITLE]
            placed["size"][0] = column.width
            bottom = -(-(bottom + TITLE + placed["size"][1] + GAP) // 10) * 10
        box = [left, 0, column.width + 2 * PADDING, bottom - GAP + PADDING]
        yield {"id": number, "title": column.title, "bounding": box, "color": "#3f789e", "font_size": 24, "flags": {}}
        left += box[2] + GAP


def _check(
    workflow: Mapping[str, Any],
    nodes: Sequence[Node],
    built: Mapping[str, dict[str, Any]],
    object_info: Mapping[str, Any],
) -> None:
    """What the front end would send to the server is what the description says."""
    prompt = to_api(workflow, object_info)
    for node in nodes:
        if node.type == NOTE:
            continue
        sent = prompt[str(built[node.key]["id"])]["inputs"]
        for name, given in node.inputs.items():
            expected = given
            if isinstance(given, From):
                names = [output["name"] for output in built[given.key]["outputs"]]
                expected = [str(built[given.key]["id"]), names.index(given.output)]
            if sent.get(name) != expected:
                raise WorkflowError(f"Node {node.key}: {name} arrives as {sent.get(name)!r}, expected {expected!r}.")
