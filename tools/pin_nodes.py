"""Write down what saved workflows rely on: `python -m tools.pin_nodes`.

Widget values are saved by position and links by name, so what is pinned stays; a node may only get more inputs and
outputs at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from saeuron.files import write_atomically
from saeuron.json_text import format_json
from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY

PINNED = REPOSITORY / "tests" / "fixtures" / "nodes.json"

Nodes = dict[str, dict[str, list[str]]]
"""Node id -> "inputs" in the order of their widgets, each "name: type", and "outputs", the types in order."""


def describe_nodes(object_info: Mapping[str, Any]) -> Nodes:
    """The pack's nodes as the server tells of them."""
    return {
        name: {
            "inputs": [
                # The choices of a combo are left out: new files and new samplers come and go.
                f"{input_}: {'COMBO' if isinstance(spec[0], list) else spec[0]}"
                for part in ("required", "optional")
                for input_, spec in info["input"].get(part, {}).items()
            ],
            "outputs": list(info["output"]),
        }
        for name, info in sorted(object_info.items())
        if name.startswith("Saeuron")
    }


def broken(pinned: Nodes, nodes: Nodes) -> Iterator[str]:
    """What workflows that were saved with `pinned` nodes would stumble over."""
    for name, node in pinned.items():
        if name not in nodes:
            yield f"{name} is gone"
            continue
        for kind, entries in node.items():
            found = nodes[name][kind][: len(entries)]
            if found != entries:
                yield f"{name}: {kind} were {entries}, are {nodes[name][kind]}"


def read_pinned() -> Nodes:
    return dict(json.loads(PINNED.read_text(encoding="utf-8"))) if PINNED.exists() else {}


def main() -> None:
    with ComfyServer() as server:
        nodes = describe_nodes(server.object_info())
    if problems := list(broken(read_pinned(), nodes)):
        raise SystemExit("Saved workflows would break:\n" + "\n".join(problems))
    write_atomically(PINNED, f"{format_json(nodes)}\n".encode())
    print(f"{len(nodes)} nodes are pinned")


if __name__ == "__main__":
    main()
