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

    digests: np.ndarray
    """str [N], of the pixels: two pictures are the same to the last bit if theirs are."""

    seconds: np.ndarray
    """float [N], how long each took, as a share of the time that it was drawn with others in."""

    seconds_off: np.ndarray
    """float [N], the same for the model as it is at about the same time on the same machine; nan if not measured."""

    def __getitem__(self, rows: np.ndarray) -> Sight:
        labels = {domain: found[rows] for domain, found in self.labels.items()}
        rest = (self.features, self.rejected, self.embeddings, self.digests, self.seconds, self.seconds_off)
        return Sight(labels, *(values[rows] for values in rest))


@dataclass(frozen=True)
class Figures:
    """Of one concept under one treatment; shares of pictures, 0 to 1, each the mean of the arrays `values` keeps."""

    values: Mapping[str, np.ndarray]
    """0 or 1 for each picture: ua, ira, cra; artifacts, artifacts_others for rejected ones; replaced for those that
    show what is to stand there instead, where something is; identical_others for those that are the un-ablated one to
    the last bit. clip, clip_others: cosine to the un-ablated picture. Names with others are of the pictures that IRA is
    of, the rest of the concept's.
    """

    kernel_distance: float
    """Of the pictures that IRA is of, to the same without treatment."""

    kept: np.ndarray
    """Which of the probes IRA, CRA and the figures with others in their names are of: int64, ascending."""

    seconds: float = float("nan")
    """For one picture."""

    seconds_off: float = float("nan")
    """For one picture of the model as it is, on the same machine at about the same time."""

    def mean(self, name: str) -> float:
        return float(self.values[name].mean())

    def as_dict(self, seed: int) -> dict[str, object]:
        """Mean, 95 % bootstrap interval and number of pictures of each; kernel distance, seconds."""
        figures: dict[str, object] = {
            name: {
                "mean": round(interval.mean, 4),
                "interval": [round(interval.low, 4), round(interval.high, 4)],
                "pictures": len(values),
            }
            for name, values in self.values.items()
            for interval in [bootstrap(values, seed)]
        }
        return {**figures, "kernel_distance": round(self.kernel_distance, 4), **seconds_of([self])}


def judge(
    concept: Concept,
    own: Sight,
    probes: Sight,
    asked: Sequence[Probe],
    before: tuple[Sight, Sight],
    instead: str | None = None,
) -> Figures:
    """UA on `own`; IRA and CRA on the probes that do not ask for `concept`; CLIP similarity to `before`.

    `before` is (own, probes) of the model as it is; `instead` the label of what is to stand there instead, if anything.
    """
    other_domain = DOMAINS[1 - DOMAINS.index(concept.domain)]
    kept = kept_rows(concept, asked)
    wanted = {d: np.array([probe.labels[d] for probe in asked])[kept] for d in DOMAINS}
    rest, rest_before = probes[kept], before[1][kept]
    values = {
        "ua": (own.labels[concept.domain] != concept.label).astype(float),
        "ira": (rest.labels[concept.domain] == wanted[concept.domain]).astype(float),
        "cra": (rest.labels[other_domain] == wanted[other_domain]).astype(float),
        "clip": cosine_similarity(before[0].embeddings, own.embeddings),
        "clip_others": cosine_similarity(rest_before.embeddings, rest.embeddings),
        "artifacts": own.rejected.astype(float),
        "artifacts_others": rest.rejected.astype(float),
        "identical_others": (rest.digests == rest_before.digests).astype(float),
    }
    if instead is not None:
        values["replaced"] = (own.labels[concept.domain] == instead).astype(float)
    return Figures(
        values,
        kernel_distance(rest.features, rest_before.features).value,
        kept,
        float(np.concatenate([own.seconds, probes.seconds]).mean()),
        float(np.concatenate([own.seconds_off, probes.seconds_off]).mean()),
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


OWN = ("ua", "clip", "artifacts", "replaced")
"""Figures of pictures that each concept has for itself; all others are of probes, which concepts share."""


def mean_over(concepts: Sequence[Figures], seed: int = 0, resamples: int = 2000) -> dict[str, object]:
    """The mean over concepts of each figure, every concept counting the same, and its 95 % interval.

    Name -> mean, and under ``intervals`` name -> [low, high]: percentile bootstrap over pictures. A probe that several
    concepts share is drawn for all of them or for none, or the interval would be far too narrow. The concepts are those
    that there are: nothing is said about others.
    """
    names = [name for name in concepts[0].values if all(name in figures.values for figures in concepts)]
    means: dict[str, object] = {name: round(float(np.mean([c.mean(name) for c in concepts])), 4) for name in names}
    rng = np.random.default_rng(seed)
    probes = 1 + max((int(figures.kept.max()) for figures in concepts if len(figures.kept)), default=0)
    drawn = rng.multinomial(probes, np.full(probes, 1 / probes), size=resamples)  # how often each probe
    intervals = {}
    for name in names:
        resampled = np.zeros(resamples)
        for figures in concepts:
            values = figures.values[name]
            if name in OWN:
                weights = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples)
            else:
                weights = drawn[:, figures.kept]
            resampled += weights @ values / weights.sum(1).clip(1) / len(concepts)
        intervals[name] = [round(float(edge), 4) for edge in np.quantile(resampled, [0.025, 0.975])]
    distance = round(float(np.mean([c.kernel_distance for c in concepts])), 4)
    return {**means, "kernel_distance": distance, **seconds_of(concepts), "intervals": intervals}


def seconds_of(concepts: Sequence[Figures]) -> dict[str, float | None]:
    """Seconds a picture, and how many times those of the model as it is that makes; None where it was not measured."""
    seconds, plain = (float(np.mean([getattr(c, name) for c in concepts])) for name in ("seconds", "seconds_off"))
    ratio = seconds / plain
    return {
        "seconds": round(seconds, 4) if np.isfinite(seconds) else None,
        "times_off": round(ratio, 3) if np.isfinite(ratio) else None,
    }
