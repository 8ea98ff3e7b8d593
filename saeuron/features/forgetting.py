"""What it takes to make the model forget what a person has typed: the lines read, and prompts made from the words."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import SaeuronError
from .selection import SelectionSettings

MAX_CONCEPTS = 20
LONGEST = 100
"""Letters of a concept."""

SELECTION = SelectionSettings(tau=10, overlap=0.1)
"""How the features that find a concept are chosen: those that other prompts hardly share."""

_TEMPLATES = (
    "{it}",
    "{it}",
    "a picture of {it}",
    "a photo of {it}",
    "a drawing of {it}",
    "an image of {it}",
    "an illustration of {it}",
    "a painting of {it}",
    "a close-up of {it}",
    "{it} on a plain background",
    "{it} on a blue background",
    "{it} on a green background",
    "{it} on the left",
    "{it} on the right",
    "{it} in the middle",
    "{it} in the corner",
    "{it} in the garden",
    "{it} at night",
    # In company it fills less of the picture, which is what a gate has to open for.
    "{it} and a tree",
    "a tower and {it}",
    "{it} with a bird",
    "a house next to {it}",
    "small {bare}",
    "large {bare}",
    "beautiful {bare}",
    "old {bare}",
    "a photo of small {bare}",
    "a drawing of colorful {bare}",
    "a simple drawing of {bare}",
    "a portrait of {bare}",
)


_STYLE_TEMPLATES = (
    "{it}",
    "a picture in {it}",
    "a drawing in {it}",
    "{it} picture",
    "an image, {it}",
    "something small in {it}",
    *(
        f"{thing}{', ' if comma else ' in '}{{it}}"
        for comma in (False, True)
        for thing in (
            "a house", "a cat", "a tower", "a flower", "a dog", "a tree",
            "a man", "a fish", "a bird", "a car", "a horse", "the sea",
        )
    ),
)  # fmt: skip


class Forgetting(NamedTuple):
    """One line: what to forget, and what to draw instead; empty if the person does not say."""

    concept: str
    instead: str = ""


def parse_concepts(text: str) -> tuple[Forgetting, ...]:
    """Lines ``cat -> dog`` or just ``cat``; empty lines and what follows a # are left out.

    Errors: `SaeuronError` naming the line, for none or too many, and for a concept that is listed twice.
    """
    found: dict[str, Forgetting] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not (entry := line.partition("#")[0].strip()):
            continue
        concept, *instead = (part.strip() for part in re.split(r"->|\u2192|=>", entry))
        if not concept or len(instead) > 1 or (instead and not instead[0]) or len(entry) > 2 * LONGEST:
            raise SaeuronError(f"Line {number}, {entry[:80]!r}: write a concept like cat, or cat -> dog.")
        if concept.lower() in found:
            raise SaeuronError(f"Line {number}: {concept[:80]!r} is listed twice.")
        found[concept.lower()] = Forgetting(concept, instead[0] if instead else "")
    if not 1 <= len(found) <= MAX_CONCEPTS:
        raise SaeuronError(f"Name 1 to {MAX_CONCEPTS} concepts, one a line, like cat -> dog; found {len(found)}.")
    return tuple(found.values())


def with_article(words: str) -> str:
    """`words` as one would ask for them: ``cat`` -> ``a cat``; what has an article, or several words, stays."""
    if " " in words or words[:1].isupper():
        return words
    return f"an {words}" if words[:1].lower() in "aeiou" else f"a {words}"


def is_style(concept: str) -> bool:
    """Whether it is the whole picture that `concept` describes: ``crayon style``."""
    return re.search(r"\w\W+styles?$", concept.strip(), flags=re.IGNORECASE) is not None


def concept_prompts(concept: str) -> list[str]:
    """Prompts that ask for `concept`, in different words around it."""
    if is_style(concept):
        return [template.format(it=concept) for template in _STYLE_TEMPLATES]
    bare = re.sub(r"^(an?|the|my|one)\s+", "", concept, flags=re.IGNORECASE)
    return [template.format(it=with_article(concept), bare=bare) for template in _TEMPLATES]


def other_prompts(concept: str, prompts: list[str]) -> list[str]:
    """Those of `prompts` in which none of the concept's own words occur.

    Errors: `SaeuronError` if fewer than half of them are left.
    """
    words = {word for word in re.findall(r"\w+", concept.lower()) if len(word) > 2}
    if is_style(concept):
        words -= {"style", "styles"}
    words |= {f"{word}s" for word in words} | {word.removesuffix("s") for word in words}
    left = [prompt for prompt in prompts if not words & set(re.findall(r"\w+", prompt.lower()))]
    if 2 * len(left) < len(prompts):
        raise SaeuronError(
            f"{concept[:80]!r} is too general: most other prompts have its words, too. Be more specific."
        )
    return left
