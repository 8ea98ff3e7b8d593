"""Turn a saved workflow (the front end's format) into a prompt (the server's API format).

A saved workflow keeps widget values by position and says nothing of what a position means; a prompt keeps inputs by
name. The front end converts when the user presses Run (`graphToPrompt`). This is the same conversion without a
browser, against the same `object_info`, as far as workflows without subgraphs need it; names in the text below are
the front end's (1.32).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Prompt = dict[str, dict[str, Any]]

NEVER, BYPASS = 2, 4
"""Node modes: muted, and bypassed (inputs go straight through to outputs of the same type)."""

VIRTUAL = {"Reroute", "PrimitiveNode", "Note", "MarkdownNote"}
"""Node types that exist in the front end only."""

WIDGET_DEFAULTS: dict[str, Any] = {
    "INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": "", "COMBO": None, "COLOR": "#000000", "MARKDOWN": "",
}  # fmt: skip
"""The input types that have a widget, with what it holds when neither the file nor the node says."""


class WorkflowError(Exception):
    """The workflow can't be converted; the message names the node."""


def to_api(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Prompt:
    """The prompt that the front end would send for a saved workflow.

    Args:
        workflow: the parsed JSON file, of either link layout (version 0.4 or 1).
        object_info: the server's answer to /object_info.

    Raises:
        WorkflowError: a node class that the server does not know, a subgraph, a broken link, a text with random
            choices.
    """
    graph = _Graph(workflow, object_info)
    prompt: Prompt = {}
    for node in graph.nodes.values():
        if node["type"] in VIRTUAL or node.get("mode", 0) in (NEVER, BYPASS):
            continue
        inputs: dict[str, Any] = {}
        for name, value in {**graph.widget_values(node), **graph.primitive_values(node)}.items():
            # A bare list of two would be read as a link.
            inputs[name] = {"__value__": value} if isinstance(value, list) else value
        for index, slot in enumerate(graph.slots(node)):
            source = graph.source(node, index)
            if source is not None:
                inputs[slot.name] = [str(source[0]), source[1]]
        title = node.get("title") or graph.info(node).get("display_name") or node["type"]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    for entry in prompt.values():
        # What came from a muted node is not connected at all.
        entry["inputs"] = {name: value for name, value in entry["inputs"].items() if not _dangles(value, prompt)}
    return prompt


def find_nodes(prompt: Prompt, *, class_type: str | None = None, title: str | None = None) -> list[str]:
    """The ids of the nodes of a class, with a title, or both."""
    return [
        id_
        for id_, node in prompt.items()
        if class_type in (None, node["class_type"]) and title in (None, node["_meta"]["title"])
    ]


def set_input(
    prompt: Prompt, name: str, value: Any, *, class_type: str | None = None, title: str | None = None
) -> None:
    """Change an input of the one node of a class or title, in place. A link is an input, too: [node id, output].

    Raises:
        WorkflowError: not exactly one such node, or it has no such input.
    """
    found = find_nodes(prompt, class_type=class_type, title=title)
    wanted = " ".join(filter(None, [class_type, f"titled {title!r}" if title else None]))
    if len(found) != 1:
        raise WorkflowError(f"There are {len(found)} nodes {wanted} in the workflow, expected one.")
    inputs = prompt[found[0]]["inputs"]
    if name not in inputs:
        raise WorkflowError(f"Node {found[0]} ({wanted}) has no input {name!r}; it has {', '.join(inputs)}.")
    inputs[name] = value


@dataclass(frozen=True)
class _Slot:
    name: str
    type: str
    link: int | None


@dataclass(frozen=True)
class DeclaredInput:
    """An input as the node class declares it."""

    name: str
    type: str
    options: Mapping[str, Any]
    choices: list[Any]

    @property
    def widget_type(self) -> str | None:
        kind = self.options.get("widgetType") or self.type
        return kind if kind in WIDGET_DEFAULTS and not self.options.get("forceInput") else None

    @property
    def extra_widgets(self) -> int:
        """How many values follow in the file that belong to the front end alone ("control after generate")."""
        control = self.options.get("control_after_generate")
        if self.widget_type == "INT":
            return int(bool(control) if control is not None else self.name in ("seed", "noise_seed"))
        # A combo has a filter for the control, too.
        return 2 if self.widget_type == "COMBO" and control else 0

    @property
    def default(self) -> Any:
        fallback = self.choices[0] if self.choices else WIDGET_DEFAULTS.get(self.widget_type or "")
        return self.options.get("default", fallback)


class _Graph:
    def __init__(self, workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> None:
        self.nodes: dict[Any, Mapping[str, Any]] = {node["id"]: node for node in workflow["nodes"]}
        self.links: dict[int, tuple[Any, int]] = dict(map(_link, workflow.get("links", [])))
        self._object_info = object_info
        unknown = {node["type"] for node in self.nodes.values()} - set(object_info) - VIRTUAL
        if unknown:
            subgraphs = {found["id"] for found in workflow.get("definitions", {}).get("subgraphs", [])}
            if unknown & subgraphs:
                raise WorkflowError("Workflows with subgraphs can't be converted: unpack them in the front end first.")
            raise WorkflowError(f"The server does not know these nodes: {', '.join(sorted(unknown))}.")

    def info(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        return dict(self._object_info.get(node["type"], {}))

    def declared(self, node: Mapping[str, Any]) -> list[DeclaredInput]:
        """The inputs of a node's class in the order of its widgets: required, then optional."""
        info = self.info(node)
        return [
            declared_input(name, info["input"][part][name])
            for part in ("required", "optional")
            for name in info.get("input_order", {}).get(part) or info.get("input", {}).get(part) or {}
        ]

    def slots(self, node: Mapping[str, Any]) -> list[_Slot]:
        """A node's inputs in the front end's order: plain sockets, widgets, then what only the file has."""
        saved = {slot["name"]: slot for slot in node.get("inputs") or []}
        declared = sorted(self.declared(node), key=lambda input_: input_.widget_type is not None)
        names = {input_.name: input_.type for input_ in declared if not input_.options.get("socketless")}
        names.update({name: slot["type"] for name, slot in saved.items() if name not in names})
        return [_Slot(name, type_, saved.get(name, {}).get("link")) for name, type_ in names.items()]

    def widget_values(self, node: Mapping[str, Any]) -> dict[str, Any]:
        saved = node.get("widgets_values") or []
        values: dict[str, Any] = {}
        position = 0
        for input_ in self.declared(node):
            if input_.widget_type is None:
                continue
            if isinstance(saved, Mapping):  # some packs save by name
                value = saved.get(input_.name, input_.default)
            else:
                value = saved[position] if position < len(saved) else input_.default
            position += 1 + input_.extra_widgets
            if isinstance(value, str) and input_.options.get("dynamicPrompts"):
                value = _plain_text(value, node)
            values[input_.name] = value
        return values

    def primitive_values(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """The values that PrimitiveNodes put into a node's widgets."""
        values = {}
        for slot in self.slots(node):
            origin = self.nodes.get(self.links.get(slot.link, (None, 0))[0]) if slot.link is not None else None
            if origin is not None and origin["type"] == "PrimitiveNode" and origin.get("widgets_values"):
                values[slot.name] = origin["widgets_values"][0]
        return values

    def source(self, node: Mapping[str, Any], index: int, wanted: str | None = None) -> tuple[Any, int] | None:
        """(node id, output) that an input's value really comes from, None where it comes from nowhere."""
        slot = self.slots(node)[index]
        if slot.link is None:
            return None
        origin, output = self.links.get(slot.link, (None, 0))
        if origin not in self.nodes:
            raise WorkflowError(f"Input {slot.name!r} of node {node['id']} ({node['type']}) has a broken link.")
        return self._output_source(self.nodes[origin], output, wanted or slot.type)

    def _output_source(self, node: Mapping[str, Any], output: int, wanted: str) -> tuple[Any, int] | None:
        if node.get("mode", 0) == BYPASS:
            index = self._bypass(node, output, wanted)
            return None if index is None else self.source(node, index)
        if node["type"] == "Reroute":
            return self.source(node, 0, wanted)
        return None if node["type"] in VIRTUAL else (node["id"], output)

    def _bypass(self, node: Mapping[str, Any], output: int, wanted: str) -> int | None:
        """The input that stands in for an output of a bypassed node: same position, else same type."""
        slots = self.slots(node)
        given = node["outputs"][output]["type"]
        if wanted in ("*", ""):
            return output if output < len(slots) else 0
        fits = [_compatible(slot.type, given) and _compatible(slot.type, wanted) for slot in slots]
        if output < len(slots) and fits[output]:
            return output
        exact = [index for index, slot in enumerate(slots) if slot.type == wanted]
        return next(iter(exact + [index for index, fit in enumerate(fits) if fit]), None)


def _link(link: Any) -> tuple[int, tuple[Any, int]]:
    """Link id -> (origin node, origin output)."""
    if isinstance(link, Mapping):
        return link["id"], (link["origin_id"], link["origin_slot"])
    return link[0], (link[1], link[2])


def declared_input(name: str, spec: Any) -> DeclaredInput:
    kind, options = spec[0], (spec[1] if len(spec) > 1 else None) or {}
    if isinstance(kind, list):
        return DeclaredInput(name, "COMBO", options, kind)
    return DeclaredInput(name, kind, options, list(options.get("options") or []) if kind == "COMBO" else [])


def _types(type_: Any) -> Iterator[str]:
    return (part.strip() for part in str(type_).lower().split(","))


def _compatible(a: Any, b: Any) -> bool:
    """`LiteGraph.isValidConnection`: the same, anything, or a type in common."""
    return a in ("", "*", 0) or b in ("", "*", 0) or not set(_types(a)).isdisjoint(_types(b))


def _plain_text(text: str, node: Mapping[str, Any]) -> str:
    """A text as `processDynamicPrompt` leaves it: without comments; {a|b} is a random choice, which we refuse."""
    text = re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)
    if re.search(r"(?<!\\)\{", text):
        raise WorkflowError(f"The text of node {node['id']} ({node['type']}) has a random choice {{...}} in it.")
    return re.sub(r"\\([{}|])", r"\1", text)


def _dangles(value: Any, prompt: Prompt) -> bool:
    return isinstance(value, list) and value[0] not in prompt
