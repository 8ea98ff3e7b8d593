"""Calibrating a feature set's detector on the pictures that its statistics kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from torch import Tensor

from ..sae.model import SparseCodes
from .detector import DEFAULT, Detector, marked_share, marked_tokens
from .feature_set import FeatureSet
from .statistics import ActivationStatistics

AT_LEAST = (1, 2, 3)
"""How many features must be above their thresholds. Scaling these as well was tried on the miniature, by 0.5 and 2,
and made no difference at all: of a TopK code a feature is either far above its mean or not there."""

CLEARLY = 0.02
"""Another number of features than the default is taken only if it raises the balanced accuracy by more than this: two
pictures in a hundred."""

TOLERATED = 0.01
"""Of other pictures, for which a gate may open if that makes it find more of the concept's."""

FOLDS = 5
Shares = tuple[list[float], list[float]]
"""Shares of marked tokens: of the concept's pictures, and of others."""


def calibrate(feature_set: FeatureSet, concept: ActivationStatistics, others: ActivationStatistics) -> Detector | None:
    """The detector of `feature_set`, learned from the first step's codes of the pictures that both statistics kept.

    True and false positives are cross-validated: each picture is judged by what was learned from other ones, all of
    the choices included. The features themselves were chosen on all of them, so new prompts may do a little worse.
    None if there are fewer than two pictures of either kind: then the default counts.
    """
    sigma, pictures = concept.sigmas[0], (concept.pictures.codes(), others.pictures.codes())
    if min(map(len, pictures)) < 2:
        return None
    shares = _shares_by_number(feature_set, sigma, *pictures)
    folds = min(FOLDS, *map(len, pictures))
    found = mistaken = 0
    for fold in range(folds):
        at_least, gate = _learn({number: _without(fold, folds, own) for number, own in shares.items()})
        of_concept, of_others = shares[at_least]
        found += sum(share > gate for share in of_concept[fold::folds])
        mistaken += sum(share > gate for share in of_others[fold::folds])
    at_least, gate = _learn(shares)
    return Detector(
        at_least,
        gate,
        sigma,
        true_positives=(found, len(pictures[0])),
        false_positives=(mistaken, len(pictures[1])),
        auc=area_under_curve(*shares[at_least]),
    )


def choose_gate(concept: Sequence[float], others: Sequence[float]) -> float:
    """The gate on the share of marked tokens: the most accurate one, or a lower one if that opens for few others.

    Features are chosen on the very pictures of the concept that the shares are of, so new pictures of it have smaller
    ones, while those of other pictures stay: on the miniature's held-out prompts the most accurate gate found 94 % of
    the concept's pictures and opened for 0.05 % of the others, this one finds 99 % and opens for 0.7 %.
    """
    lenient = sorted(others)[len(others) - 1 - int(TOLERATED * len(others))]
    return min(most_accurate_gate(concept, others), max(lenient, DEFAULT.gate))


def most_accurate_gate(concept: Sequence[float], others: Sequence[float]) -> float:
    """The gate with the highest balanced accuracy.

    Gates lie in the middle between two shares that follow each other; there is also the one that never opens. Of
    equally accurate ones the one in the widest gap counts, then the higher one, which opens less by mistake.
    """
    ordered = sorted({*concept, *others})
    candidates = [((low + high) / 2, high - low) for low, high in pairwise(ordered)] + [(ordered[-1], 0.0)]
    return max(candidates, key=lambda own: (balanced_accuracy(concept, others, own[0]), own[1], own[0]))[0]


def cross_validated(
    concept: Sequence[float], others: Sequence[float], learn: Callable[[Sequence[float], Sequence[float]], float]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """True and false positives, of how many each, of gates that `learn` made without the picture that is judged."""
    folds = min(FOLDS, len(concept), len(others))
    found = mistaken = 0
    for fold in range(folds):
        gate = learn(*([share for i, share in enumerate(own) if i % folds != fold] for own in (concept, others)))
        found += sum(share > gate for share in concept[fold::folds])
        mistaken += sum(share > gate for share in others[fold::folds])
    return (found, len(concept)), (mistaken, len(others))


def balanced_accuracy(concept: Sequence[float], others: Sequence[float], gate: float) -> float:
    """The mean of two shares: of `concept` above `gate`, and of `others` not above it. Half is chance."""
    found = sum(share > gate for share in concept) / len(concept)
    spared = sum(share <= gate for share in others) / len(others)
    return (found + spared) / 2


def area_under_curve(concept: Sequence[float], others: Sequence[float]) -> float:
    """The chance that a picture of the concept has a higher share than another one; equal ones count half.

    That is the area under the receiver operating characteristic, from ranks (Mann and Whitney 1947; Hanley and McNeil,
    Radiology 143, 1982): ``(R - c (c + 1) / 2) / (c o)``, R being the sum of the c concept's ranks among all, o the
    number of others, and equal shares having the mean of their ranks.
    """
    both = sorted([*concept, *others])
    first = {share: place for place, share in reversed(list(enumerate(both, 1)))}
    last = {share: place for place, share in enumerate(both, 1)}
    ranks = sum((first[share] + last[share]) / 2 for share in concept)
    return (ranks - len(concept) * (len(concept) + 1) / 2) / (len(concept) * len(others))


def _learn(shares: Mapping[int, Shares]) -> tuple[int, float]:
    """How many features tell the pictures apart best, and the gate; the default unless another is clearly better."""
    gates = {at_least: choose_gate(*own) for at_least, own in shares.items()}
    accuracies = {at_least: balanced_accuracy(*own, gates[at_least]) for at_least, own in shares.items()}
    best = max(accuracies, key=accuracies.__getitem__)  # of equally good ones the first
    clearly = accuracies[best] > accuracies[DEFAULT.at_least] + CLEARLY
    at_least = best if clearly else DEFAULT.at_least
    return at_least, gates[at_least]


def _without(fold: int, folds: int, shares: Shares) -> Shares:
    concept, others = ([share for i, share in enumerate(own) if i % folds != fold] for own in shares)
    return concept, others


def _shares_by_number(
    feature_set: FeatureSet, sigma: float, concept: Sequence[SparseCodes], others: Sequence[SparseCodes]
) -> dict[int, Shares]:
    """For each of `AT_LEAST`."""
    features, thresholds = feature_set.marking(sigma)
    concept, others = ([_only(codes, features) for codes in pictures] for pictures in (concept, others))
    return {
        at_least: (
            shares_of(concept, features, thresholds, at_least),
            shares_of(others, features, thresholds, at_least),
        )
        for at_least in AT_LEAST
    }


def _only(codes: SparseCodes, features: Tensor) -> SparseCodes:
    """`codes` without what is not of `features`, if that is less: looked up once and not again for each number."""
    if len(features) >= codes.values.shape[-1]:
        return codes
    values = codes.of(features)
    return SparseCodes(values, features.expand_as(values).contiguous())


def shares_of(pictures: Sequence[SparseCodes], features: Tensor, thresholds: Tensor, at_least: int) -> list[float]:
    """The share of marked tokens of each picture, whose codes are [..., k]."""
    marks = (marked_tokens(codes, features, thresholds, at_least) for codes in pictures)
    return [float(marked_share(own.unsqueeze(0))) for own in marks]
