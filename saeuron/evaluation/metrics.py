"""Unlearning and retained accuracy, as UnlearnCanvas (arXiv 2402.11846) defines them."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SaeuronError


def unlearning_accuracy(found: Sequence[str], concept: str) -> float:
    """UA: share of the concept's pictures on which the classifier does not see it. Compare with the un-ablated UA."""
    _expect_some(found)
    return sum(label != concept for label in found) / len(found)


def accuracy(found: Sequence[str], truth: Sequence[str]) -> float:
    """Share of pictures on which the classifier sees what was asked for: IRA within a domain, CRA across domains."""
    _expect_some(found)
    return sum(a == b for a, b in zip(found, truth, strict=True)) / len(found)


def _expect_some(found: Sequence[str]) -> None:
    if not found:
        raise SaeuronError("There are no pictures to judge.")
