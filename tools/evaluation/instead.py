"""What stands instead of a concept, for every row that replaces: one place, so that all rows mean the same.

Two choices for each of the concepts: its *neighbour*, the one of its domain whose mean SAE code at the decisive
hookpoint is the most like its own (`neighbours.json`, which ``python -m tools.evaluation.neighbours`` writes), and a
*fixed* one, the same for all.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from saeuron.evaluation.benchmark import Concept
from saeuron.shots import Shot
from tools.miniature.drawings import OBJECTS, STYLES

NEIGHBOURS = Path(__file__).parent / "neighbours.json"
FIXED = {"objects": ("towers", "trees"), "styles": ("twemoji", "gray")}
"""Domain -> the fixed one, and what stands instead of that itself."""

WAYS = ("neighbour", "fixed")


def instead_of(concept: Concept, way: str) -> str:
    """The label of what stands instead of `concept`; `way` is one of `WAYS`."""
    if way == "neighbour":
        return _neighbours()[concept.domain][concept.label]
    fixed, other = FIXED[concept.domain]
    return other if concept.label == fixed else fixed


@cache
def _neighbours() -> dict[str, dict[str, str]]:
    """Domain -> label -> neighbour."""
    found: dict[str, dict[str, str]] = json.loads(NEIGHBOURS.read_text(encoding="utf-8"))["neighbours"]
    return found


def word(domain: str, label: str) -> str:
    """What captions usually call it: ``cat`` for cats; a style is called by its label."""
    return OBJECTS[label][1][0] if domain == "objects" else label


def phrase(concept: Concept) -> str:
    """The shortest prompt that asks for it: ``a cat``, ``gray style``."""
    said = word(concept.domain, concept.label)
    return f"a {said}" if concept.domain == "objects" else f"{said} style"


def by_hand(prompt: str, concept: Concept, label: str) -> str:
    """`prompt` as a person would rewrite it: every word for `concept` exchanged for that of `label`, its article too.

    A prompt that does not name the concept stays as it is.
    """
    new = word(concept.domain, label)

    def exchanged(found: re.Match[str]) -> str:
        article, old = found["article"] or "", found["name"]
        if article:
            article = re.sub(r"(?i)^(a)n?", rf"\g<1>{'n' if new[0] in 'aeiou' else ''}", article)
        return article + (new.capitalize() if old[0].isupper() else new)

    return _named(concept).sub(exchanged, prompt)


def names(prompt: str, concept: Concept) -> bool:
    """Whether `prompt` has a word for `concept`."""
    return _named(concept).search(prompt) is not None


def shots_by_hand(shots: list[Shot], concept: Concept, label: str) -> list[Shot]:
    """The same seeds with `by_hand`'s prompts."""
    return [Shot(by_hand(shot.prompt, concept, label), shot.seed) for shot in shots]


@cache
def _named(concept: Concept) -> re.Pattern[str]:
    """The words for `concept`, longest first, several in a row as one (``a sea wave``), with an article before them."""
    if concept.domain == "objects":
        words = sorted(OBJECTS[concept.label][1], key=len, reverse=True)
    else:
        assert concept.label in STYLES
        words = [f"high {concept.label}", concept.label]
    one = rf"(?:{'|'.join(map(re.escape, words))})s?"
    return re.compile(rf"\b(?P<article>an?\s+)?(?P<name>{one}(?:\s+{one})*)\b", re.IGNORECASE)
