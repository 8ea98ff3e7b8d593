"""What saved workflows rely on: ids, and the places of inputs and outputs."""

from __future__ import annotations

import copy

from tools.host.server import ComfyServer
from tools.pin_nodes import broken, describe_nodes, read_pinned


def test_nodes_are_as_pinned(server: ComfyServer) -> None:
    nodes = describe_nodes(server.object_info())
    assert not list(broken(read_pinned(), nodes))
    assert nodes == read_pinned(), "new nodes or inputs: run python -m tools.pin_nodes"


def test_what_breaks_saved_workflows_is_found() -> None:
    pinned = read_pinned()
    name = "SaeuronUnlearn"
    swapped, gone, renamed, longer = (copy.deepcopy(pinned) for _ in range(4))
    swapped[name]["inputs"][3:5] = reversed(swapped[name]["inputs"][3:5])
    del gone[name]
    renamed[name]["inputs"][0] = "diffusion_model: MODEL"
    longer[name]["inputs"].append("more: FLOAT")
    for nodes in (swapped, gone, renamed):
        assert len(list(broken(pinned, nodes))) == 1
    assert not list(broken(pinned, longer))
