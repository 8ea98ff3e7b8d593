"""Held-out prompts for pictures of two things, from a generator: no list of them is kept, and none is trained on.

The wordings are frames of their own; the words for things and places are those of the miniature's captions. Seeds are
the generator's own, so no scene shares its noise with another picture of the benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saeuron.shots import Shot
from tools.miniature.drawings import OBJECTS, STYLES

from .instead import word

SCENE_SEED = 10_000_000
PROMPT_SEED = 17

SAID = {
    "across": (
        "look, {0} on the left, and on the right {1}",
        "please draw {0} left of {1}",
        "for my website: {1} on the right, {0} on the left",
        "I would like {0} with {1} to the right",
    ),
    "stacked": (
        "look, {0} at the top, and at the bottom {1}",
        "please draw {0} above {1}",
        "for my website: {1} at the bottom, {0} at the top",
        "I would like {0} with {1} under it",
    ),
    "": (
        "please draw {0} and {1}",
        "this is {0} with {1}",
        "for a postcard: {0} next to {1}",
        "just {0} and {1}, nice and simple",
    ),
}
"""Arrangement, empty where the text leaves it open -> frames for the thing on the left or at the top, and the other."""

ALONE = {
    "across": ("please draw {0} on the {1}", ("left", "right")),
    "stacked": ("please draw {0} at the {1}", ("top", "bottom")),
    "": ("please draw {0}", ("", "")),
}
"""The prompt without the target, for DUAL: where the neighbour's place was said, it still is."""

ON_HALF = {
    "left": "please draw {0} on the left",
    "right": "please draw {0} on the right",
    "top": "please draw {0} at the top",
    "bottom": "please draw {0} at the bottom",
}
"""What is said where one half is inpainted."""


@dataclass(frozen=True)
class ScenePrompt:
    """A picture of two things to be drawn, and what is to be removed from it."""

    shot: Shot
    target: str
    neighbour: str
    style: str
    arrangement: str
    target_first: bool
    """Whether the target is the thing on the left or at the top, where the arrangement is said."""

    alone: str
    """The prompt without the target."""


def scene_prompts(target: str, count: int) -> list[ScenePrompt]:
    """`count` scenes to remove `target` from; neighbours and styles in turn, half of them with places said."""
    rng = np.random.default_rng([PROMPT_SEED, list(OBJECTS).index(target)])
    others = [str(name) for name in rng.permutation([name for name in OBJECTS if name != target])]
    found = []
    for number in range(count):
        neighbour, style = others[number % len(others)], list(STYLES)[number % len(STYLES)]
        arrangement = ("across", "", "stacked", "")[number % 4]
        frames = SAID[arrangement]
        frame = frames[rng.integers(len(frames))]
        first = bool(rng.random() < 0.5)
        things = (target, neighbour) if first else (neighbour, target)
        prompt = frame.format(*(f"a {word('objects', thing)}" for thing in things))
        alone, sides = ALONE[arrangement]
        rest = alone.format(f"a {word('objects', neighbour)}", sides[first])
        seed = SCENE_SEED + 1000 * list(OBJECTS).index(target) + number
        found.append(
            ScenePrompt(
                Shot(f"{prompt}, in {style} style", seed),
                target,
                neighbour,
                style,
                arrangement,
                first,
                f"{rest}, in {style} style",
            )
        )
    return found


def on_half(label: str, half: str, style: str) -> str:
    """The prompt for one thing on the half where it belongs."""
    thing = f"a {word('objects', label)}"
    return f"{ON_HALF[half].format(thing)}, in {style} style"
