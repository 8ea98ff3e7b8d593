"""Unlearning and retained accuracy, as UnlearnCanvas (arXiv 2402.11846) defines them, similarity, and their spread.

All functions raise `SaeuronError` where there is nothing to measure: a number made of nothing looks like a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SaeuronError


def unlearning_accuracy(found: Sequence[str], concept: str) -> float:
    """UA: share of the concept's pictures on which the classifier does not see it. Compare with the un-ablated UA."""
    _expect_some(found)
    return sum(label != concept for label in found) / len(found)


def accuracy(found: Sequence[str], truth: Sequence[str]) -> float:
    """Share of pictures on which the classifier sees what was asked for: IRA within a domain, CRA across domains."""
    return float(np.mean(hits(found, truth)))


def hits(found: Sequence[str], truth: Sequence[str]) -> list[bool]:
    """For each picture whether the classifier sees what was asked for; for `bootstrap`."""
    _expect_some(found)
    if len(found) != len(truth):
        raise SaeuronError(f"There are {len(found)} pictures, but {len(truth)} labels. Give one label a picture.")
    return [a == b for a, b in zip(found, truth, strict=True)]


def accuracy_by_label(found: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """`accuracy` on the pictures of each label of `truth`, in order of first appearance."""
    right = hits(found, truth)
    return {
        label: float(np.mean([hit for hit, asked in zip(right, truth, strict=True) if asked == label]))
        for label in dict.fromkeys(truth)
    }


class Unlearning(NamedTuple):
    """What an edit removed, held against the same pictures without it."""

    accuracy: float
    """UA with the edit."""
    baseline: float
    """UA of the un-ablated pictures: what UA is without any unlearning, because the model or the judge fails."""
    removed: float | None
    """Share, among the pictures that show the concept without the edit, of those that lose it; None if none does."""


def compare_unlearning(found: Sequence[str], baseline: Sequence[str], concept: str) -> Unlearning:
    """Picture i of both is of the same prompt and seed."""
    if len(found) != len(baseline):
        raise SaeuronError(
            f"There are {len(found)} edited and {len(baseline)} un-ablated pictures. Both need the same prompts and "
            "seeds, in the same order."
        )
    shown = [after for after, before in zip(found, baseline, strict=True) if before == concept]
    removed = unlearning_accuracy(shown, concept) if shown else None
    return Unlearning(unlearning_accuracy(found, concept), unlearning_accuracy(baseline, concept), removed)


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


def bootstrap(values: ArrayLike, seed: int = 0, resamples: int = 2000, level: float = 0.95) -> Interval:
    """Mean of `values` [n] with its percentile bootstrap interval (Efron and Tibshirani 1993, section 13.3).

    `values` are independent measurements, one a picture: numbers, or true and false for a share. Where all are the same
    the interval has no width, which says that the sample is too small to show a difference, not that there is none.
    The same seed gives the same interval.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not np.isfinite(sample).all():
        raise SaeuronError(f"Expected a list of finite numbers, one a picture, found shape {sample.shape}.")
    _expect_some(sample)
    if resamples < 1 or not 0 < level < 1:
        raise SaeuronError(f"Expected resamples >= 1 and a level between 0 and 1, found {resamples} and {level}.")
    draws = np.random.default_rng(seed).integers(len(sample), size=(resamples, len(sample)))
    low, high = np.quantile(sample[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sample.mean()), float(low), float(high))


def cosine_similarity(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Cosine between row i of `first` and row i of `second`, both [n, d]: float64 [n].

    For CLIP similarity the rows are CLIP image embeddings of the un-ablated and of the edited picture of one prompt and
    seed (METHOD: CLIP similarity; they need not be normalised).
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise SaeuronError(
            f"Similarity needs as many edited as un-ablated pictures, embedded by one model; found embeddings of "
            f"shapes {a.shape} and {b.shape}."
        )
    _expect_some(a)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise SaeuronError("An embedding is zero or not finite, so it has no direction. Look at the pictures.")
    cosines: NDArray[np.float64] = np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)
    return cosines


def _expect_some(found: Sequence[object] | NDArray[np.float64]) -> None:
    if not len(found):
        raise SaeuronError("There are no pictures to judge.")
