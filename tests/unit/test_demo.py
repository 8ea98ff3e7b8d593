"""What the demo reports, of pictures and a classifier that are made up: the real ones take minutes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tools.demo import (
    BATCH,
    CONCEPT_PROMPTS,
    EXCHANGES,
    FORGET_EVERY,
    MULTIPLIERS,
    OTHER_PROMPTS,
    Edit,
    Gallery,
    held_out,
    put_forget,
)
from tools.pin_nodes import read_pinned
from tools.workflows.prompts import find_nodes, read_prompt

OBJECTS = ["cats", "dogs", "flowers", "towers", "trees"]
GONE = len(OBJECTS)


class Studio:
    """Every pixel is the object's number. Unlearn leaves nothing of a concept; Forget draws what it is told to, misses
    the first of every four, and changes a pixel of every dog and flower, which stay ones."""

    def draw(self, text: str, seed: int, batch: int, edit: Edit) -> list[np.ndarray]:
        asked = next(name for name in OBJECTS if text in held_out(name, CONCEPT_PROMPTS))
        pictures = np.full((batch, 4, 4, 3), OBJECTS.index(asked), np.uint8)
        if isinstance(edit, str):
            if asked in EXCHANGES and edit == EXCHANGES[asked].line:
                pictures[1:] = OBJECTS.index(EXCHANGES[asked].label)
            if asked in ("dogs", "flowers"):
                pictures[:, 0, 0] = 200
        elif asked in edit:
            pictures[:] = GONE
        return list(pictures)


class Judge:
    labels = tuple(OBJECTS)

    def classify(self, pictures: np.ndarray) -> list[str]:
        return [[*OBJECTS, "nothing"][number] for number in pictures[:, -1, -1, 0]]


@pytest.fixture
def gallery() -> Gallery:
    return Gallery(Studio(), Judge())


@pytest.mark.parametrize(("concept", "instead"), [("cats", "dog"), ("towers", "tree")])
def test_the_report_says_what_unlearn_and_forget_did(gallery: Gallery, concept: str, instead: str) -> None:
    others = len(OBJECTS) - 1
    assert json.loads(json.dumps(gallery.measure(concept, MULTIPLIERS[concept]))) == {
        "multiplier": MULTIPLIERS[concept],
        "baseline_ua": 0.0,
        "ua": 1.0,
        "other_accuracy_before": 1.0,
        "other_accuracy_after": 1.0,
        "images": CONCEPT_PROMPTS * BATCH,
        "other_images": others * OTHER_PROMPTS * BATCH,
        "replace": {
            "with": instead,
            "ua": 0.75,
            "replaced": 0.75,
            "other_accuracy_after": 1.0,
            "other_images": others // FORGET_EVERY * OTHER_PROMPTS * BATCH,
            "identical_others": 0.5,
        },
    }


def test_forget_stands_where_unlearn_stood() -> None:
    prompt, line = read_prompt("unlearn_miniature"), EXCHANGES["cats"].line
    (unlearn,) = find_nodes(prompt, class_type="SaeuronUnlearn")
    before = dict(prompt[unlearn]["inputs"])
    put_forget(prompt, line)
    inputs = prompt[unlearn]["inputs"]
    assert find_nodes(prompt, class_type="SaeuronForget") == [unlearn]
    required = {entry.partition(": ")[0] for entry in read_pinned()["SaeuronForget"]["inputs"]}
    assert set(inputs) == required
    assert (inputs["model"], inputs["sae"], inputs["concepts"]) == (before["model"], before["sae"], line)
    assert prompt[inputs["clip"][0]]["class_type"] == "SaeuronLoadMiniature"
