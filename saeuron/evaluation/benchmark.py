"""The benchmark of UnlearnCanvas (arXiv 2402.11846) on any pipeline: what each treatment removes and what it costs.

Two domains of concepts, each with a judge that names one label of its domain on every picture. A concept's *own* shots
ask for it; *probes* ask for an object in a style each, so that one set of pictures gives both IRA and CRA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..shots import Shot
from .artifacts import kernel_distance
from .metrics import bootstrap, cosine_similarity

DOMAINS = ("objects", "styles")


@dataclass(frozen=True)
class Concept:
    domain: str
    """``objects`` or ``styles``."""

    label: str
    """What the judge of its domain calls it."""

    @property
    def name(self) -> str:
        """Of its feature set and prompt lists."""
        return self.label if self.domain == "objects" else f"style-{self.label}"


@dataclass(frozen=True)
class Probe:
    shot: Shot
    labels: Mapping[str, str]
    """Domain -> what the picture should show."""


@dataclass(frozen=True)
class Sight:
    """What the judges saw on some pictures, one row each."""

    labels: Mapping[str, np.ndarray]
    """Domain -> label, str [N]."""

    features: np.ndarray
    """float [N, f], the object judge's, for the kernel distance."""

    rejected: np.ndarray
    """bool [N], whether the realism judge takes the picture for a spoilt one."""

    embeddings: np.ndarray
    """float [N, e], CLIP's."""

    def __getitem__(self, rows: np.ndarray) -> Sight:
        labels = {domain: found[rows] for domain, found in self.labels.items()}
        return Sight(labels, self.features[rows], self.rejected[rows], self.embeddings[rows])


@dataclass(frozen=True)
class Figures:
    """Of one concept under one treatment; shares of pictures, 0 to 1, each the mean of the arrays `values` keeps."""

    values: Mapping[str, np.ndarray]
    """ua, ira, cra, and artifacts, artifacts_others for rejected ones: 0 or 1 for each picture; clip, clip_others:
    cosine to the un-ablated picture. Names with others are of the pictures that IRA is of, the rest of the concept's.
    """

    kernel_distance: float
    """Of the pictures that IRA is of, to the same without treatment."""

    def mean(self, name: str) -> float:
        return float(self.values[name].mean())

    def as_dict(self, seed: int) -> dict[str, object]:
        """Mean, 95 % bootstrap interval and number of pictures of each; and the kernel distance."""
        figures: dict[str, object] = {
            name: {
                "mean": round(interval.mean, 4),
                "interval": [round(interval.low, 4), round(interval.high, 4)],
                "pictures": len(values),
            }
            for name, values in self.values.items()
            for interval in [bootstrap(values, seed)]
        }
        return {**figures, "kernel_distance": round(self.kernel_distance, 4)}


def judge(concept: Concept, own: Sight, probes: Sight, asked: Sequence[Probe], before: tuple[Sight, Sight]) -> Figures:
    """UA on `own`; IRA and CRA on the probes that do not ask for `concept`; CLIP similarity to `before`.

    `before` is (own, probes) of the model as it is.
    """
    other_domain = DOMAINS[1 - DOMAINS.index(concept.domain)]
    kept = kept_rows(concept, asked)
    wanted = {d: np.array([probe.labels[d] for probe in asked])[kept] for d in DOMAINS}
    rest = probes[kept]
    return Figures(
        {
            "ua": (own.labels[concept.domain] != concept.label).astype(float),
            "ira": (rest.labels[concept.domain] == wanted[concept.domain]).astype(float),
            "cra": (rest.labels[other_domain] == wanted[other_domain]).astype(float),
            "clip": cosine_similarity(before[0].embeddings, own.embeddings),
            "clip_others": cosine_similarity(before[1][kept].embeddings, rest.embeddings),
            "artifacts": own.rejected.astype(float),
            "artifacts_others": rest.rejected.astype(float),
        },
        kernel_distance(rest.features, before[1][kept].features).value,
    )


def kept_rows(concept: Concept, asked: Sequence[Probe]) -> np.ndarray:
    """Which probes do not ask for `concept`: int64, ascending."""
    return np.flatnonzero([probe.labels[concept.domain] != concept.label for probe in asked])


def choose_multiplier(multipliers: Sequence[float], figures: Callable[[float], Figures]) -> float:
    """The multiplier with the highest mean of UA, IRA and CRA; of equal ones the one in the middle.

    That is the farthest from both ends, where it would do too little or too much on other prompts. One alone needs no
    figures.
    """
    if len(multipliers) == 1:
        return multipliers[0]
    scores = {m: round(sum(figures(m).mean(name) for name in ("ua", "ira", "cra")), 9) for m in multipliers}
    best = max(scores.values())
    equal = sorted((m for m, score in scores.items() if score == best), key=abs)
    return equal[len(equal) // 2]


def mean_over(concepts: Sequence[Figures]) -> dict[str, float]:
    """The mean over concepts of each figure, every concept counting the same."""
    means = {name: round(float(np.mean([c.mean(name) for c in concepts])), 4) for name in concepts[0].values}
    return {**means, "kernel_distance": round(float(np.mean([c.kernel_distance for c in concepts])), 4)}
