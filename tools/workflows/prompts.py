"""The example workflows as prompts (the server's API format), which the front end exported, and changes to them."""

from __future__ import annotations

import json
from typing import Any

from tools.host.unpack import REPOSITORY

FOLDER = REPOSITORY / "example_workflows"
API_FOLDER = FOLDER / "api"

Prompt = dict[str, dict[str, Any]]


def read_prompt(name: str) -> Prompt:
    """What the front end sends to the server for the example workflow `name`."""
    return dict(json.loads((API_FOLDER / f"{name}.json").read_text(encoding="utf-8")))


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
        LookupError: not exactly one such node, or it has no such input.
    """
    found = find_nodes(prompt, class_type=class_type, title=title)
    wanted = " ".join(filter(None, [class_type, f"titled {title!r}" if title else None]))
    if len(found) != 1:
        raise LookupError(f"There are {len(found)} nodes {wanted} in the workflow, expected one.")
    inputs = prompt[found[0]]["inputs"]
    if name not in inputs:
        raise LookupError(f"Node {found[0]} ({wanted}) has no input {name!r}; it has {', '.join(inputs)}.")
    inputs[name] = value
