"""Values that no browser sends, posted to every node: refused by the host's validation, or by a message of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tools.host.server import ComfyServer, ServerError
from tools.pin_nodes import read_pinned

NAN, HUGE = float("nan"), 10**400
MALFORMED: dict[str, tuple[Any, ...]] = {
    "INT": ("many", NAN, None, {}, 10**30, -(10**30)),
    "FLOAT": ("much", NAN, float("inf"), None, {}, 1e300),
    "COMBO": ("../../no such choice", 5, NAN, True, {}, {"__value__": [1, 2, 3]}),
    "socket": (5, "text", NAN, True, {"a": 1}, {"__value__": []}),
}
# Whatever is sent becomes text or a switch, and what the text says is for the node to judge.
HARMLESS = {"STRING", "BOOLEAN"}


def inputs_of(node: str) -> Iterator[tuple[str, str]]:
    """Name and type of a node's inputs."""
    for entry in read_pinned()[node]["inputs"]:
        name, _, kind = entry.partition(": ")
        yield name, kind if kind in (*MALFORMED, *HARMLESS) else "socket"


def posted(server: ComfyServer, node: str) -> dict[str, Any]:
    """Inputs of `node` with every widget at a good value and nothing connected: sockets hold the number 0."""
    declared = server.object_info()[node]["input"]
    specs = {**declared.get("required", {}), **declared.get("optional", {})}
    good: dict[str, Any] = {}
    for name, kind in inputs_of(node):
        options = specs[name][1]
        good[name] = 0 if kind == "socket" else options.get("default", (options.get("options") or ["a cat"])[0])
    return good


def refusal(server: ComfyServer, node: str, inputs: dict[str, Any]) -> str:
    """What is said against `inputs`."""
    prompt = {
        "1": {"class_type": node, "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    if not read_pinned()[node]["outputs"]:
        del prompt["2"]
    with pytest.raises(ServerError) as caught:
        server.run(prompt)
    return str(caught.value)


@pytest.mark.parametrize("node", [node for node, pinned in read_pinned().items() if pinned["inputs"]])
def test_malformed_values(server: ComfyServer, node: str) -> None:
    good = posted(server, node)
    for name, kind in inputs_of(node):
        for value in MALFORMED.get(kind, ()):
            said = refusal(server, node, {**good, name: value})
            refused_by_host = "failed validation" in said and re.search(rf": {name}\b", said)
            refused_by_us = "SaeuronError: " in said and (f"{name} is " in said or f"{value!r} can't be used" in said)
            assert refused_by_host or refused_by_us, f"{name}={value!r}: {said[:600]}"
        without = {key: value for key, value in good.items() if key != name}
        if name in server.object_info()[node]["input"]["required"]:
            assert f"Required input is missing: {name}" in refusal(server, node, without)


@pytest.mark.parametrize(
    ("node", "name", "said"),
    [
        ("SaeuronLoadSAE", "sae_name", "models/saes"),
        ("SaeuronLoadFeatureSet", "feature_set_name", "models/feature_sets"),
        ("SaeuronLoadClassifier", "classifier_name", "models/classifiers"),
    ],
)
def test_a_file_that_is_not_there_is_told_by_the_node_itself(
    server: ComfyServer, node: str, name: str, said: str
) -> None:
    """The host's own check of lists would say no more than that the value is not in the list."""
    told = refusal(server, node, {**posted(server, node), name: "not there.json"})
    assert "SaeuronError: " in told and "not there.json" in told and said in told, told[:600]


def test_a_number_of_any_length_is_refused_or_read(server: ComfyServer) -> None:
    """JSON has no limit; Python has."""
    good = posted(server, "SaeuronUnlearn")
    with pytest.raises(ServerError):
        server.run({"1": {"class_type": "SaeuronUnlearn", "inputs": {**good, "multiplier": HUGE}}})
    assert json.loads(server.request("/system_stats"))
