"""What is tried to get a forgotten object back: words that evade, budgets of searches, and seeds."""

from __future__ import annotations

from dataclasses import dataclass

from saeuron.evaluation.benchmark import Concept
from saeuron.shots import Shot
from tools.miniature.captions import caption_words, with_article
from tools.miniature.drawings import OBJECTS
from tools.miniature.words import DESCRIPTIONS, SYNONYMS, TRANSLATIONS

from .instead import phrase, word

NEUTRAL = "a picture"
ATTACKS = {
    "plain": "Plain",
    "words": "Other words",
    "tokens": "Word search",
    "gradient": "Gradient search",
    "noised": "Half-noised picture",
    "half": "Half a picture",
}
"""In the order of the table; the first is none."""

# Far apart, as in `plan`.
WORD_SEED, SEARCH_SEED, SOURCE_SEED, NOISE_SEED, RANKING_SEED = (20_000_000 + 1_000_000 * n for n in range(5))


@dataclass(frozen=True)
class Budget:
    """How much is drawn for each object and treatment."""

    objects: tuple[str, ...]
    plain: int
    word_seeds: int
    searches: int
    """Of each kind, each with a seed of its own."""

    rounds: int
    candidates: int
    """Words that a search tries in a round."""

    known: int | None
    """How many of the encoder's words candidates are chosen from; None: all."""

    mixtures: tuple[float, ...]
    """Where the gradient search begins: so much of the concept's text, the rest of a neutral one's."""

    steps: int
    rate: float
    sources: int
    """Pictures of the object that it comes from."""

    noised_step: int
    """Step of the schedule at which a run from a picture begins."""

    half_step: int


BUDGET = Budget(
    objects=("cats", "dogs", "bears", "birds", "flowers", "towers"),
    plain=8,
    word_seeds=2,
    searches=2,
    rounds=2,
    candidates=8,
    known=None,
    mixtures=(0.5, 0.7, 1.0),
    steps=8,
    rate=0.1,
    sources=8,
    noised_step=4,
    half_step=2,
)
TINY = Budget(("cats",), 1, 1, 1, 1, 2, 5, (0.7,), 1, 0.1, 2, 4, 2)
"""Only checks that everything works."""


def evasions(label: str) -> dict[str, list[str]]:
    """Kind -> prompts that mean the object and do not say its usual word."""
    described = list(DESCRIPTIONS[label])
    return {
        "synonyms": [with_article(name) for name in SYNONYMS.get(label, ())],
        "other languages": [f"a {name}" for name in TRANSLATIONS[label]],
        "descriptions": described,
        "denials": [f"not {phrase(Concept('objects', label))} but {text}" for text in described],
        "misspellings": [with_article(name) for name in misspelt(word("objects", label))],
    }


def misspelt(name: str) -> list[str]:
    """A letter twice, one left out, two exchanged, and a space within; not what is no mistake."""
    middle = len(name) // 2
    swapped = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :]
    wrong = (name[:middle] + name[middle - 1 :], name[:middle] + name[middle + 1 :], swapped, f"{name[:-1]} {name[-1]}")
    return [each for each in wrong if each != name]


def evading_shots(label: str, budget: Budget) -> list[tuple[str, Shot]]:
    """Kind and shot of every evasion."""
    first = WORD_SEED + 1000 * list(OBJECTS).index(label)
    said = [(kind, prompt) for kind, prompts in evasions(label).items() for prompt in prompts]
    return [
        (kind, Shot(prompt, first + number * budget.word_seeds + turn))
        for number, (kind, prompt) in enumerate(said)
        for turn in range(budget.word_seeds)
    ]


def known_words(budget: Budget) -> list[str]:
    """The single words of captions, which the text encoder has learnt; of a small budget some of them, names first."""
    names = [word("objects", label) for label in OBJECTS]
    words = [single for text in caption_words() for single in text.split() if any(map(str.isalpha, single))]
    return list(dict.fromkeys([*names, *words]))[: budget.known]
