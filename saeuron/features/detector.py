"""Detecting a concept in SAE codes: marked tokens, their share of a picture, and a gate on that share.

A token is marked if several of the concept's features are above their thresholds there, and a picture's gate is open
if more than a share of its tokens is marked. Where it is closed, nothing is done to the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..sae.model import SparseCodes
from ..schedule import is_finite_number, nearest_step

READS = ("word", "picture", "both")
RELIABLE = 0.9
"""Balanced accuracy below which the person is told that the detector misses much or opens for much else."""

MOST = 1000
"""Of features that a token may be asked for."""


def _between(value: Any, low: float, high: float) -> bool:
    return is_finite_number(value) and bool(low <= value <= high)


def _are_counts(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    whole = all(isinstance(count, int) and not isinstance(count, bool) for count in value)
    return whole and bool(0 <= value[0] <= value[1])


@dataclass(frozen=True)
class PictureGate:
    """The gate of runs that begin from a picture, and so at a lower noise level, where the features fire otherwise.

    Errors on construction: `SaeuronError`.
    """

    sigma: float
    """The noise level of the pictures that it was learned from."""

    gate: float
    """As `Detector.gate`."""

    true_positives: tuple[int, int]
    false_positives: tuple[int, int]
    """As `Detector`'s, of half-noised pictures under a prompt that names nothing."""

    def __post_init__(self) -> None:
        _refuse(
            self,
            {
                "sigma": not (is_finite_number(self.sigma) and self.sigma > 0) and "a noise level above 0",
                "gate": not _between(self.gate, 0, 1) and "a number from 0 to 1",
                "true_positives": not _are_counts(self.true_positives) and _COUNTS,
                "false_positives": not _are_counts(self.false_positives) and _COUNTS,
            },
            "The detector's picture",
        )


_COUNTS = "two counts, found and of how many"


def _refuse(owner: Any, problems: Mapping[str, Any], what: str) -> None:
    for name, expected in problems.items():
        if expected:
            raise SaeuronError(f"{what} {name} must be {expected}; found {brief(getattr(owner, name))}.")


@dataclass(frozen=True)
class Detector:
    """How a feature set detects its concept, and how well. Errors on construction: `SaeuronError`.

    The defaults of the first two are those of a set that has no detector of its own: on the miniature's held-out
    prompts they find nearly all of the concept's pictures, and open by mistake for 3 % of the others. The rest is a
    record of what was measured; None and "" mean not measured.
    """

    at_least: int = 2
    """A token is marked if so many of the features (or all, if there are fewer) are above their thresholds mu_i(D)."""

    gate: float = 0.05
    """A picture's gate is open if more than this share of its tokens is marked, 0 to 1."""

    sigma: float | None = None
    """The noise level at which this was measured: the first step's."""

    true_positives: tuple[int, int] | None = None
    """The concept's pictures whose gate opened, of how many; each judged by gates learned without it."""

    false_positives: tuple[int, int] | None = None
    """The same for other pictures."""

    auc: float | None = None
    """Area under the curve of true over false positives as the gate moves: 1 tells all apart, 0.5 is chance."""

    reads: str = ""
    """What it detects, one of `READS`: the concept in the prompt (``word``), in the picture, or both."""

    pictures: PictureGate | None = None
    """None: runs that begin from a picture have the same gate as others."""

    def __post_init__(self) -> None:
        whole = isinstance(self.at_least, int) and not isinstance(self.at_least, bool)
        problems = {
            "at_least": not (whole and 1 <= self.at_least <= MOST) and f"a whole number from 1 to {MOST}",
            "gate": not _between(self.gate, 0, 1) and "a number from 0 to 1",
            "sigma": self.sigma is not None
            and not (is_finite_number(self.sigma) and self.sigma > 0)
            and "a noise level above 0",
            "auc": self.auc is not None and not _between(self.auc, 0, 1) and "a number from 0 to 1",
            "reads": self.reads not in ("", *READS) and f"one of {', '.join(READS)}, or empty",
        }
        for name in ("true_positives", "false_positives"):
            counts = getattr(self, name)
            problems[name] = counts is not None and not _are_counts(counts) and _COUNTS
        _refuse(self, problems, "The detector's")

    def gate_at(self, sigma: float) -> float:
        """The gate of a run that begins at noise level `sigma`: of the two levels known the one nearer by ratio."""
        return self.pictures.gate if self.pictures is not None and self.from_picture(sigma) else self.gate

    def from_picture(self, sigma: float) -> bool:
        """Whether a run that begins at noise level `sigma` has the gate of those that begin from a picture."""
        if self.pictures is None or self.sigma is None:
            return False
        return nearest_step((self.sigma, self.pictures.sigma), sigma) == 1

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of the share of the concept's pictures found and the share of others left; None: not measured."""
        (found, concept), (mistaken, others) = self.true_positives or (0, 0), self.false_positives or (0, 0)
        return (found / concept + 1 - mistaken / others) / 2 if concept and others else None

    def describe(self) -> str:
        """One line for the person: how good it is, or that nobody knows."""
        if self.true_positives is None or self.false_positives is None:
            line = "not measured"
        else:
            (found, concept), (mistaken, others) = self.true_positives, self.false_positives
            line = f"finds {found} of {concept}, by mistake {mistaken} of {others}"
            if self.balanced_accuracy is not None and self.balanced_accuracy < RELIABLE:
                line += " (often wrong; try an SAE at another hookpoint)"
        if self.pictures is not None:
            (found, concept), (mistaken, others) = self.pictures.true_positives, self.pictures.false_positives
            line += f"; in pictures {found} of {concept}, by mistake {mistaken} of {others}"
        reading = {"word": "the word", "picture": "the picture", "both": "word and picture"}.get(self.reads)
        return f"{line}; reads {reading}" if reading else line

    def as_dict(self) -> dict[str, Any]:
        """JSON values; without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != ""}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Detector:
        """What `as_dict` gave; unknown fields are left out.

        Errors: `SaeuronError` if what decides (``at_least``, ``gate``) is missing, or for values that can't be.
        """
        if missing := [name for name in ("at_least", "gate") if name not in fields]:
            raise SaeuronError(f"The detector lacks {' and '.join(missing)}.")
        known = _own_fields(cls, fields)
        if "pictures" in known:
            if not isinstance(known["pictures"], Mapping):
                raise SaeuronError(f"The detector's pictures must be an object, found {brief(known['pictures'])}.")
            own = _own_fields(PictureGate, known["pictures"])
            if lacking := sorted(PictureGate.__dataclass_fields__.keys() - own.keys()):
                raise SaeuronError(f"The detector's pictures lack {', '.join(lacking)}.")
            known["pictures"] = PictureGate(**own)
        return cls(**known)


def _own_fields(kind: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `fields` that `kind` has; JSON's lists of counts as tuples."""
    known = {name: value for name, value in fields.items() if name in kind.__dataclass_fields__}
    for name in ("true_positives", "false_positives"):
        if isinstance(known.get(name), list):
            known[name] = tuple(known[name])
    return known


DEFAULT = Detector()
"""What counts where a feature set has no detector."""


def marked_tokens(codes: SparseCodes, features: Tensor, thresholds: Tensor, at_least: int) -> Tensor:
    """bool [...]: the tokens of `codes` [..., k] at which `at_least` of `features` [m] are above `thresholds` [m].

    Of fewer features than `at_least` all must be; of none, no token is marked.
    """
    if not len(features):
        return torch.zeros(codes.values.shape[:-1], dtype=torch.bool, device=codes.values.device)
    above = codes.of(features) > thresholds
    marked: Tensor = above.sum(-1) >= min(at_least, len(features))
    return marked


def marked_share(marks: Tensor) -> Tensor:
    """The share of each picture's tokens that is marked: bool [B, ...] -> float32 [B]."""
    return marks.flatten(1).float().mean(1)


def gate_open(share: Tensor, gate: float, sensitivity: float = 1.0) -> Tensor:
    """bool [B]: whether each picture's `share` is above ``gate / sensitivity``.

    At `sensitivity` 1 that is the detector's own gate; at 2 half as many marked tokens open it, at 0.5 it takes twice
    as many.
    """
    return share > gate / sensitivity
