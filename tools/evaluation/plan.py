"""What the benchmark draws: held-out prompts for the figures that are reported, fit prompts for choosing."""

from __future__ import annotations

from dataclasses import dataclass

from saeuron.evaluation.benchmark import Concept, Probe
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from saeuron.shots import Shot, shots_of
from tools.miniature.drawings import OBJECTS, STYLES

TEST, VALIDATION = "heldout", "fit"
# Far apart, so that no picture of one kind shares its noise with one of another.
OWN_SEED = {TEST: 1_000_000, VALIDATION: 2_000_000}
PROBE_SEED = {TEST: 3_000_000, VALIDATION: 4_000_000}
REAL_SEED = 5_000_000


@dataclass(frozen=True)
class Scale:
    """How many pictures; prompts and styles are counted per concept and per object."""

    concepts: tuple[Concept, ...]
    multipliers: dict[str, tuple[float, ...]]
    """Domain -> tried at the hookpoint that decides on it."""

    published_multipliers: tuple[float, ...]
    """Tried at the published hookpoint."""

    prompts: dict[str, int]
    seeds: dict[str, int]
    probe_styles: dict[str, int]
    probe_seeds: dict[str, int]
    removed_together: tuple[int, ...]
    real_seeds: int
    """Of every object in every style, for the realism judge to learn from."""


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
    6,
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
    1,
)


def own_shots(concept: Concept, split: str, scale: Scale) -> list[Shot]:
    """Pictures that ask for `concept`; every concept has seeds of its own."""
    prompts = read_prompts(PROMPTS_FOLDER / split / f"{concept.name}.txt")[: scale.prompts[split]]
    first = OWN_SEED[split] + 1000 * ALL.index(concept)
    return shots_of(prompts, scale.seeds[split], first)


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
    """Every object in every style."""
    by_style = [_by_style(read_prompts(PROMPTS_FOLDER / VALIDATION / f"{name}.txt")) for name in OBJECTS]
    return shots_of([prompt for prompts in by_style for prompt in prompts.values()], scale.real_seeds, REAL_SEED)


def _by_style(prompts: list[str]) -> dict[str, str]:
    """The first prompt that names each style."""
    return {
        style: next(prompt for prompt in prompts if style in prompt.lower().replace(",", " ").replace(".", " ").split())
        for style in STYLES
    }
