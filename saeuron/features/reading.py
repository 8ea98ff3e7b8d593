"""Whether a feature set reads the word in the prompt or the thing in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import SaeuronError
from ..sae.model import SparseCodes
from .calibration import cross_validated, most_accurate_gate, shares_of
from .detector import PictureGate
from .feature_set import FeatureSet

TELLS_APART = 0.75
"""Balanced accuracy from which a detector is said to tell two kinds of pictures apart; 0.5 is chance."""

NEUTRAL = "a picture"
"""The prompt that names nothing."""


class Reading(NamedTuple):
    """On how many pictures of each kind the gate was open, and of how many."""

    prompts: tuple[int, int]
    """From noise alone, with prompts that name the concept, at the first step."""

    pictures: tuple[int, int]
    """From half-noised pictures of the concept under a prompt that names nothing, at the first call after noising."""

    others: tuple[int, int]
    """The same from pictures of other things."""

    @property
    def reads(self) -> str:
        """``word``, ``picture`` or ``both``; empty if neither can be shown.

        The word is read if the gate is open on the prompts and closed on the others, the picture if it is open on the
        pictures and closed on the others, with a balanced accuracy of at least `TELLS_APART`. A gate that opens on all
        of them reads neither.
        """
        word, picture = (_tells_apart(opened, self.others) for opened in (self.prompts, self.pictures))
        return {(True, True): "both", (True, False): "word", (False, True): "picture"}.get((word, picture), "")

    def describe(self) -> str:
        """For the person, a line for each kind."""
        kinds = (
            ("prompts that name it", self.prompts),
            ("half-noised pictures of it", self.pictures),
            ("half-noised pictures of other things", self.others),
        )
        return "\n".join(f"{opened} of {count} {name} open the gate" for name, (opened, count) in kinds)


def _tells_apart(found: tuple[int, int], mistaken: tuple[int, int]) -> bool:
    return (found[0] / found[1] + 1 - mistaken[0] / mistaken[1]) / 2 >= TELLS_APART


def read_pictures(
    feature_set: FeatureSet,
    prompts: Sequence[SparseCodes],
    pictures: Sequence[SparseCodes],
    others: Sequence[SparseCodes],
    first_sigma: float,
    noised_sigma: float,
) -> Reading:
    """On which of three kinds of pictures the gate of `feature_set` opens, as `Reading` names them.

    Each of the three holds codes [..., k] for every picture: of `prompts` at the noise level `first_sigma`, of the
    others at `noised_sigma`. Errors: `SaeuronError` if there are no pictures of a kind.
    """
    shares = _shares(feature_set, prompts, pictures, others, first_sigma, noised_sigma)
    detector = feature_set.detector_or_default
    gates = (detector.gate_at(first_sigma), *[detector.gate_at(noised_sigma)] * 2)
    return Reading(*(_opened(own, gate) for own, gate in zip(shares, gates, strict=True)))


def learn_pictures(
    feature_set: FeatureSet,
    prompts: Sequence[SparseCodes],
    pictures: Sequence[SparseCodes],
    others: Sequence[SparseCodes],
    first_sigma: float,
    noised_sigma: float,
) -> tuple[FeatureSet, Reading]:
    """`feature_set` with a gate of its own for runs that begin from a picture, and with what it reads.

    The arguments are those of `read_pictures`. The gate is cross-validated: each noised picture is judged by one that
    was learned from the others. If that does not tell the two kinds apart, no gate is learned, and those runs have the
    gate of all others. Errors: `SaeuronError` if there are fewer than two noised pictures of a kind.
    """
    by_word, of_concept, of_others = _shares(feature_set, prompts, pictures, others, first_sigma, noised_sigma)
    if min(len(of_concept), len(of_others)) < 2:
        raise SaeuronError("To learn a gate it takes at least 2 pictures of the concept and 2 of other things.")
    detector = feature_set.detector_or_default
    found, mistaken = cross_validated(of_concept, of_others, most_accurate_gate)
    gate = None
    if _tells_apart(found, mistaken):
        gate = PictureGate(noised_sigma, most_accurate_gate(of_concept, of_others), found, mistaken)
    else:
        found, mistaken = _opened(of_concept, detector.gate), _opened(of_others, detector.gate)
    reading = Reading(_opened(by_word, detector.gate), found, mistaken)
    learned = replace(detector, sigma=detector.sigma or first_sigma, reads=reading.reads, pictures=gate)
    return replace(feature_set, detector=learned), reading


def _shares(
    feature_set: FeatureSet,
    prompts: Sequence[SparseCodes],
    pictures: Sequence[SparseCodes],
    others: Sequence[SparseCodes],
    first_sigma: float,
    noised_sigma: float,
) -> tuple[list[float], list[float], list[float]]:
    if not (prompts and pictures and others):
        raise SaeuronError(
            "To tell what a feature set detects, it takes prompts of the concept, pictures of it, and other pictures; "
            f"found {len(prompts)}, {len(pictures)} and {len(others)}."
        )
    at_least = feature_set.detector_or_default.at_least
    at_first, at_noised = (feature_set.marking(sigma) for sigma in (first_sigma, noised_sigma))
    return (
        shares_of(prompts, *at_first, at_least),
        shares_of(pictures, *at_noised, at_least),
        shares_of(others, *at_noised, at_least),
    )


def _opened(shares: Sequence[float], gate: float) -> tuple[int, int]:
    return sum(share > gate for share in shares), len(shares)
