"""What stands instead of a concept, and prompts that are rewritten by hand."""

from __future__ import annotations

import json

import pytest
import torch

from saeuron.evaluation.benchmark import Concept
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from tools.evaluation.instead import NEIGHBOURS, WAYS, by_hand, instead_of, names, phrase
from tools.evaluation.neighbours import ranked
from tools.evaluation.plan import ALL, FULL, pair_shots
from tools.miniature.drawings import OBJECTS, STYLES

CATS, SEA, CONTRAST = Concept("objects", "cats"), Concept("objects", "sea"), Concept("styles", "contrast")


@pytest.mark.parametrize("way", WAYS)
def test_every_concept_has_another_one_of_its_domain(way):
    for concept in ALL:
        label = instead_of(concept, way)
        assert label != concept.label and label in (OBJECTS if concept.domain == "objects" else STYLES)
    assert len({instead_of(c, "fixed") for c in ALL if c.domain == "objects"}) == 2  # the fixed one, and instead of it


def test_others_are_ranked_by_the_cosine_of_their_codes():
    codes = {"a": torch.tensor([1.0, 0]), "b": torch.tensor([5.0, 5]), "c": torch.tensor([0, 1.0])}
    assert [list(ranked(codes)[label].items()) for label in codes] == [
        [("b", 0.7071), ("c", 0.0)],
        [("a", 0.7071), ("c", 0.7071)],
        [("b", 0.7071), ("a", 0.0)],
    ]


def test_neighbours_are_the_first_of_the_ranking():
    found = json.loads(NEIGHBOURS.read_text(encoding="utf-8"))
    for domain, likeness in found["cosines"].items():
        for label, others in likeness.items():
            assert list(others.values()) == sorted(others.values(), reverse=True)
            assert found["neighbours"][domain][label] == next(iter(others)) and len(others) == len(likeness) - 1


@pytest.mark.parametrize(
    ("prompt", "concept", "label", "rewritten"),
    [
        ("a cat in gray style", CATS, "dogs", "a dog in gray style"),
        ("Just a nice cat face.", CATS, "dogs", "Just a nice dog."),
        ("Cat face on the left", CATS, "dogs", "Dog on the left"),
        ("two cats and a category", CATS, "dogs", "two dog and a category"),
        ("an ocean, seen up close", SEA, "cats", "a cat, seen up close"),
        ("a sea wave in the contrast style", SEA, "cats", "a cat in the contrast style"),
        ("in high contrast style", CONTRAST, "gray", "in gray style"),
        ("a dog", CATS, "towers", "a dog"),
    ],
)
def test_rewriting_by_hand(prompt, concept, label, rewritten):
    assert by_hand(prompt, concept, label) == rewritten


@pytest.mark.parametrize("split", ["fit", "heldout"])
def test_every_prompt_of_a_concept_can_be_rewritten(split):
    for concept in ALL:
        other = Concept(concept.domain, instead_of(concept, "neighbour"))
        for prompt in read_prompts(PROMPTS_FOLDER / split / f"{concept.name}.txt"):
            rewritten = by_hand(prompt, concept, other.label)
            assert names(prompt, concept) and not names(rewritten, concept) and names(rewritten, other), prompt


def test_phrases_name_their_concept():
    assert (phrase(CATS), phrase(CONTRAST)) == ("a cat", "contrast style")
    assert all(names(phrase(concept), concept) for concept in ALL)


def test_pairs_differ_by_the_concept_and_have_the_same_noise():
    asked, others = pair_shots(CATS, FULL)
    assert [shot.seed for shot in asked] == [shot.seed for shot in others] and len(asked) == 40
    assert all(names(shot.prompt, CATS) for shot in asked) and not any(names(shot.prompt, CATS) for shot in others)
    kinds = [c for c in ALL if c.domain == "objects" and any(names(shot.prompt, c) for shot in others)]
    assert len(kinds) == 19, "the others in turn, so that what is common to the pairs is what they are not"
