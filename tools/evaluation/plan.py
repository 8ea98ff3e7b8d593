"""What the benchmark draws: held-out prompts for the figures that are reported, fit prompts for choosing."""

from __future__ import annotations

from dataclasses import dataclass

from saeuron.evaluation.benchmark import Concept, Probe
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from saeuron.shots import Shot, shots_of
from tools.miniature.drawings import OBJECTS, STYLES

from .instead import by_hand

TEST, VALIDATION = "heldout", "fit"
# Far apart, so that no picture of one kind shares its noise with one of another.
OWN_SEED = {TEST: 1_000_000, VALIDATION: 2_000_000}
PROBE_SEED = {TEST: 3_000_000, VALIDATION: 4_000_000}
REAL_SEED = 5_000_000
PAIR_SEED = 6_000_000
UNSEEN_SEED = 7_000_000


@dataclass(frozen=True)
class Scale:
    """How many pictures; prompts and styles are counted per concept and per object."""

    concepts: tuple[Concept, ...]
    multipliers: dict[str, tuple[float, ...]]
    """Domain -> tried at the hookpoint that decides on it."""

    published_multipliers: tuple[float, ...]
    """Tried at the published hookpoint; without any, nothing is measured there."""

    prompts: dict[str, int]
    seeds: dict[str, int]
    probe_styles: dict[str, int]
    probe_seeds: dict[str, int]
    removed_together: tuple[int, ...]
    real_prompts: int
    """Of every object, one picture each, for the realism judge to learn from."""

    unseen_prompts: int
    """Of every object, one picture each, on which the realism judge's own error is measured."""

    backgrounds: int
    """Empty pictures among those that the realism judge learns from."""

    betas: tuple[float, ...]
    """Tried for CASteer."""

    phis: tuple[float, ...]
    """Tried for NAG."""

    pairs: int
    """Of prompts, for CASteer's vectors."""

    thorough: bool = True
    """Also the published modes, what they do with nothing selected, and guidance with and without a negative prompt."""


ALL = (*(Concept("objects", label) for label in OBJECTS), *(Concept("styles", label) for label in STYLES))
FULL = Scale(
    ALL,
    {"objects": (-5.0, -10.0, -20.0, -40.0, -80.0), "styles": (-0.1, -0.3, -1.0, -3.0, -10.0, -30.0)},
    (-10.0, -20.0, -30.0, -45.0, -60.0),
    {TEST: 10, VALIDATION: 5},
    {TEST: 4, VALIDATION: 2},
    {TEST: 3, VALIDATION: 1},
    {TEST: 1, VALIDATION: 1},
    (1, 2, 4, 9),
    40,
    10,
    80,
    (1.0, 2.0, 4.0),
    (2.0, 5.0, 10.0, 20.0),
    40,
)
SHORT = Scale(
    ALL,
    {"objects": (-20.0, -40.0), "styles": (-1.0, -10.0)},
    (),
    {TEST: 10, VALIDATION: 2},
    {TEST: 1, VALIDATION: 1},
    {TEST: 1, VALIDATION: 1},
    {TEST: 1, VALIDATION: 1},
    (2, 9),
    20,
    5,
    40,
    (2.0,),
    (5.0,),
    10,
)
QUICK = Scale(
    (Concept("objects", "cats"), Concept("styles", "crayon")),
    {"objects": (-20.0,), "styles": (-1.0,)},
    (-30.0,),
    {TEST: 4, VALIDATION: 2},
    {TEST: 1, VALIDATION: 1},
    {TEST: 1, VALIDATION: 1},
    {TEST: 1, VALIDATION: 1},
    (1,),
    4,
    1,
    10,
    (2.0,),
    (5.0,),
    4,
    thorough=False,
)


def own_shots(concept: Concept, split: str, scale: Scale) -> list[Shot]:
    """Pictures that ask for `concept`; every concept has seeds of its own."""
    prompts = read_prompts(PROMPTS_FOLDER / split / f"{concept.name}.txt")[: scale.prompts[split]]
    first = OWN_SEED[split] + 1000 * ALL.index(concept)
    return shots_of(prompts, scale.seeds[split], first)


def pair_shots(concept: Concept, scale: Scale) -> tuple[list[Shot], list[Shot]]:
    """Pictures that ask for `concept`, and the same noise with its word exchanged for the others' in turn."""
    prompts = read_prompts(PROMPTS_FOLDER / VALIDATION / f"{concept.name}.txt")[: scale.pairs]
    others = [c.label for c in ALL if c.domain == concept.domain and c != concept]
    asked = shots_of(prompts, 1, PAIR_SEED + 1000 * ALL.index(concept))
    exchanged = [by_hand(prompt, concept, others[number % len(others)]) for number, prompt in enumerate(prompts)]
    return asked, [Shot(prompt, shot.seed) for prompt, shot in zip(exchanged, asked, strict=True)]


def probes(split: str, scale: Scale) -> list[Probe]:
    """Every object in as many styles as `scale` says, turn by turn, so that styles are equally often asked for."""
    found, styles = [], list(STYLES)
    for place, name in enumerate(OBJECTS):
        by_style = _by_style(read_prompts(PROMPTS_FOLDER / split / f"{name}.txt"))
        for turn in range(scale.probe_styles[split]):
            style = styles[(place + turn) % len(styles)]
            labels = {"objects": name, "styles": style}
            first = PROBE_SEED[split] + 1000 * place + 100 * turn
            found += [Probe(shot, labels) for shot in shots_of([by_style[style]], scale.probe_seeds[split], first)]
    return found


def real_shots(scale: Scale) -> list[Shot]:
    """Un-ablated pictures for the realism judge to learn from: every object, every wording, none of them twice."""
    return _every_object(VALIDATION, scale.real_prompts, REAL_SEED)


def unseen_shots(scale: Scale) -> list[Shot]:
    """For the realism judge's own error: held-out wordings, with noise that no figure is made with."""
    return _every_object(TEST, scale.unseen_prompts, UNSEEN_SEED)


def _every_object(split: str, count: int, first: int) -> list[Shot]:
    lists = [read_prompts(PROMPTS_FOLDER / split / f"{name}.txt") for name in OBJECTS]
    return shots_of([prompt for prompts in lists for prompt in prompts[:count]], 1, first)


def _by_style(prompts: list[str]) -> dict[str, str]:
    """The first prompt that names each style."""
    return {
        style: next(prompt for prompt in prompts if style in prompt.lower().replace(",", " ").replace(".", " ").split())
        for style in STYLES
    }
