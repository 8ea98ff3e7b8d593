"""The evaluation nodes behind the saved workflow, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from tools.host.server import ServerError
from tools.workflows.prompts import find_nodes, read_prompt


def measured(**measurements: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """The example workflow with further nodes, id -> (class, inputs); "Before" and "After" stand for its pictures."""
    prompt = read_prompt("unlearn_miniature")
    pictures = {
        title: prompt[output]["inputs"]["images"]
        for title in ("Before", "After")
        for output in find_nodes(prompt, title=title)
    }
    for id_, (class_type, inputs) in measurements.items():
        linked = {
            name: pictures.get(value, value) if isinstance(value, str) else value for name, value in inputs.items()
        }
        prompt[id_] = {"class_type": class_type, "inputs": linked, "_meta": {"title": id_}}
    return prompt


JUDGE = ("SaeuronLoadClassifier", {"classifier_name": "miniature-objects"})


def test_accuracies_in_one_graph_with_unlearning(server):
    ua = {"images": "After", "classifier": ["judge", 0], "concept": "Cats", "baseline": "Before"}
    retained = {"images": "Before", "classifier": ["judge", 0], "labels": "cats", "baseline": "Before"}
    prompt = measured(
        judge=JUDGE,
        ua=("SaeuronUnlearningAccuracy", ua),
        same=("SaeuronUnlearningAccuracy", {**ua, "images": "Before"}),
        retained=("SaeuronRetainAccuracy", retained),
        shown=("PreviewAny", {"source": ["same", 0]}),
        reported=("PreviewAny", {"source": ["ua", 1]}),
    )
    outputs = server.run(prompt)
    assert "20 labels: architectures" in outputs["judge"]["text"][0]
    assert "UA of cats: " in outputs["ua"]["text"][0]
    assert outputs["reported"]["text"][0] == outputs["ua"]["text"][0]
    # Pictures against themselves: the baseline's UA is the UA, and what is not unlearnt is retained.
    ua_of_plain = float(outputs["shown"]["text"][0])
    assert f"Without the edit: {ua_of_plain:.1%}" in outputs["same"]["text"][0]
    assert f"Retained accuracy: {1 - ua_of_plain:.1%}" in outputs["retained"]["text"][0]


def test_clip_similarity_in_one_graph_with_unlearning(server):
    similarity = {"clip_vision": ["clip", 0], "images": "After", "baseline": "Before"}
    outputs = server.run(
        measured(
            clip=("SaeuronLoadMiniatureClip", {}),
            edited=("SaeuronClipSimilarity", similarity),
            same=("SaeuronClipSimilarity", {**similarity, "images": "Before"}),
            host=("CLIPVisionEncode", {"clip_vision": ["clip", 0], "image": "After", "crop": "center"}),
        )
    )
    assert "CLIP similarity: 1.000" in outputs["same"]["text"][0]
    assert "CLIP similarity: " in outputs["edited"]["text"][0]
    assert "CLIP similarity: 1.000" not in outputs["edited"]["text"][0]


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        ("SaeuronLoadClassifier", {"classifier_name": "../saes"}, r"\.\."),
        ("SaeuronLoadClassifier", {"classifier_name": "missing"}, "no classifier named 'missing'"),
        ("SaeuronUnlearningAccuracy", {"concept": "unicorns"}, "knows no 'unicorns'"),
    ],
)
def test_wrong_input_is_refused_with_a_clear_message(server, node, inputs, message):
    ua = {"images": "After", "classifier": ["judge", 0], "concept": "cats"}
    prompt = measured(judge=JUDGE, ua=("SaeuronUnlearningAccuracy", ua))
    prompt["judge" if node == "SaeuronLoadClassifier" else "ua"]["inputs"].update(inputs)
    with pytest.raises(ServerError, match=message):
        server.run(prompt)
