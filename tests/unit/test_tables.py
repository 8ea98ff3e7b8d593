"""What a run did, as text."""

from __future__ import annotations

from saeuron.edits.steering import Steering
from saeuron.figures.tables import edited_tokens_table, strength_table


def test_steps_with_the_same_numbers_share_a_line():
    steps = {2: (0, 36), 0: (36, 36), 1: (36, 36), 3: (5, 36)}
    assert edited_tokens_table(steps).splitlines() == [
        "edited in this run: 77 of 144 tokens",
        "  steps 1 to 2: 36 of 36 each",
        "  step 3: 0 of 36",
        "  step 4: 5 of 36",
    ]
    assert edited_tokens_table({}) == "edited in this run: 0 of 0 tokens"


def test_strengths_with_labels():
    assert strength_table(Steering(((3, 2.0), (4, -0.5))), {4: "fur"}).splitlines() == [
        "added everywhere",
        "feature 3: +2",
        "feature 4 (fur): -0.5",
    ]
