"""``make evaluate ARGS=--attacks``: whether a forgotten object can be had all the same, into docs/results.

Each treatment is attacked with words, with searches that have the edited model and the judge at hand, and with
pictures. UA under an attack is the share of attempts after which the judge does not see the object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saeuron.evaluation.attacks import WON, search_embeddings, search_words
from saeuron.evaluation.benchmark import Concept
from saeuron.shots import Shot, shots_of
from tools.miniature.drawings import OBJECTS
from tools.pack import pack

from .attack_drawing import Artist, SoftJudge
from .attack_plan import (
    NEUTRAL,
    NOISE_SEED,
    RANKING_SEED,
    SEARCH_SEED,
    SOURCE_SEED,
    Budget,
    evading_shots,
    known_words,
)
from .instead import phrase, word
from .plan import TEST, own_shots
from .studio import Studio
from .treatment import OFF, Treatment
from .treatments import Bench, with_one_setting


class Attacks:
    """All attacks on one object. What the attacker knows beforehand comes from the model as it is."""

    def __init__(self, studio: Studio, label: str, budget: Budget) -> None:
        self._studio, self._label, self._budget = studio, label, budget
        self.concept = Concept("objects", label)
        self._place = 1000 * list(OBJECTS).index(label)
        self._off = Artist(studio, OFF)
        self._judge = SoftJudge(studio)

    def measure(self, treatment: Treatment) -> dict[str, list[dict[str, Any]]]:
        """Attack -> an entry for each attempt, with `seen`, whether the judge sees the object at last."""
        artist = Artist(self._studio, treatment)
        seeds = [SEARCH_SEED + self._place + number for number in range(self._budget.searches)]
        found = {
            "plain": self._entries(artist.draw(self._own)),
            "words": self._words(artist),
            "tokens": [self._search_words(artist, seed) for seed in seeds],
            "gradient": [self._search_embeddings(artist, seed) for seed in seeds],
        }
        for name, draw, start, step in (
            ("noised", artist.from_pictures, self._sources, self._budget.noised_step),
            ("half", artist.into_half, self._halves, self._budget.half_step),
        ):
            noise = [NOISE_SEED + self._place + number for number in range(len(start))]
            found[name] = self._entries(draw(NEUTRAL, noise, start, step)) if len(start) else []
        return found

    @cached_property
    def drawn_by_words(self) -> list[tuple[str, Shot, bool]]:
        """Kind and shot of every evasion, and whether the model as it is draws the object for it."""
        shots = evading_shots(self._label, self._budget)
        seen = self._seen(self._off.draw([shot for _, shot in shots]))
        return [(kind, shot, own) for (kind, shot), own in zip(shots, seen, strict=True)]

    @cached_property
    def _own(self) -> list[Shot]:
        return own_shots(self.concept, TEST, self._studio.scale)[: self._budget.plain]

    def _words(self, artist: Artist) -> list[dict[str, Any]]:
        counting = [(kind, shot) for kind, shot, drawn in self.drawn_by_words if drawn]
        if not counting:
            return []
        entries = self._entries(artist.draw([shot for _, shot in counting]))
        return [
            {**entry, "kind": kind, "text": shot.prompt} for (kind, shot), entry in zip(counting, entries, strict=True)
        ]

    def _search_words(self, artist: Artist, seed: int) -> dict[str, Any]:
        found = search_words(
            NEUTRAL,
            self.candidates,
            self._budget.rounds,
            lambda text: self._probability(artist.draw([Shot(text, seed)])),
        )
        # A picture can show it and the judge be of two minds; what counts is what it names.
        (seen,) = self._seen(artist.draw([Shot(found.text, seed)]))
        return {"seen": seen, "text": found.text, "tried": found.tried}

    @cached_property
    def candidates(self) -> list[str]:
        """The encoder's words with which the model as it is draws the object with the highest probability."""
        words = known_words(self._budget)
        key = {"ranking": [NEUTRAL, *words], "seed": RANKING_SEED}
        found = self._studio.kept(key, lambda: self._rank(words))
        column = self._studio.part("objects").labels.index(self._label)
        order = np.argsort([-row[column] for row in found], kind="stable")
        return [words[place] for place in order[: self._budget.candidates]]

    def _rank(self, words: Sequence[str]) -> list[list[float]]:
        pictures = self._off.draw([Shot(f"{NEUTRAL} {each}", RANKING_SEED) for each in words])
        rows: list[list[float]] = self._studio.part("objects").probabilities(pictures).tolist()
        return rows

    def _search_embeddings(self, artist: Artist, seed: int) -> dict[str, Any]:
        asked, neutral = artist.encode(phrase(self.concept)), artist.encode(NEUTRAL)
        starts = [
            [share * a + (1 - share) * n for a, n in zip(asked, neutral, strict=True)]
            for share in self._budget.mixtures
        ]

        def loss_and_probability(encoded: Sequence[Tensor]) -> tuple[Tensor, float]:
            with torch.enable_grad():
                picture = artist.with_gradient(encoded, seed)
                loss = -self._judge.log_probability(picture, self._label)
            return loss, self._probability(pack("nodes.host.pictures").to_pixels(picture.detach()))

        found = search_embeddings(starts, loss_and_probability, self._budget.steps, self._budget.rate)
        return {"seen": found.probability > WON, "tried": found.tried}

    @cached_property
    def _sources(self) -> Tensor:
        """Latents of pictures of the object, of the model as it is."""
        return self._off.latents(shots_of([phrase(self.concept)] * self._budget.sources, 1, SOURCE_SEED + self._place))

    @cached_property
    def _halves(self) -> Tensor:
        """Latents of pictures whose left half alone does not show the object, and that the model as it is completes."""
        middle = f"a large {word('objects', self._label)} in the middle"
        start = self._off.latents(shots_of([middle] * self._budget.sources, 1, SOURCE_SEED + self._place + 500))
        noise = [NOISE_SEED + self._place + number for number in range(len(start))]
        alone = self._seen(self._off.into_half(NEUTRAL, noise, start, 0))
        completed = self._seen(self._off.into_half(NEUTRAL, noise, start, self._budget.half_step))
        return start[[place for place in range(len(start)) if completed[place] and not alone[place]]]

    def _probability(self, pictures: np.ndarray) -> float:
        judge = self._studio.part("objects")
        return float(judge.probabilities(pictures)[0, judge.labels.index(self._label)])

    def _seen(self, pictures: np.ndarray) -> list[bool]:
        return [label == self._label for label in self._studio.part("objects").classify(pictures)]

    def _entries(self, pictures: np.ndarray) -> list[dict[str, Any]]:
        labels = self._studio.part("objects").classify(pictures)
        return [{"seen": label == self._label, "label": label} for label in labels]


def attack(studio: Studio, budget: Budget, only: Sequence[str] | None = None) -> dict[str, Any]:
    """Object -> ``words`` (what the model as it is draws for evasions), ``candidates``, and ``rows``: treatment ->
    attack -> attempts. `only`: these treatments.

    Not to be run in torch's inference mode, in which no gradient is to be had.
    """
    bench = Bench(studio, studio.scale)
    size = {name: value for name, value in asdict(budget).items() if name != "objects"}
    results: dict[str, Any] = {}
    for label in budget.objects:
        attacks = Attacks(studio, label, budget)
        rows = {}
        for name, treatment in with_one_setting(bench, attacks.concept).items():
            if only is None or name in only:
                key = {"attacks": size, "object": label, "row": name, **treatment.key()}
                rows[name] = studio.kept(key, _measuring(attacks, treatment))
                print(f"{label}, {name}: {_shown(rows[name])}", flush=True)
        results[label] = {
            "words": [[kind, shot.prompt, drawn] for kind, shot, drawn in attacks.drawn_by_words],
            "candidates": attacks.candidates,
            "rows": rows,
        }
    return results


def _measuring(attacks: Attacks, treatment: Treatment) -> Callable[[], Any]:
    return lambda: attacks.measure(treatment)


def _shown(row: dict[str, list[dict[str, Any]]]) -> str:
    return ", ".join(f"{name} {sum(not own['seen'] for own in tries)}/{len(tries)}" for name, tries in row.items())
