"""Which features belong to a concept: METHOD phases 1 and 2 (SAeUron, arXiv 2501.18052).

    score_i(t) = mu_i(D_c, t) / sum_j mu_j(D_c, t)  -  mu_i(D_not_c, t) / sum_j mu_j(D_not_c, t)

mu_i(D, t) is the mean of feature i's activation over all tokens of all images of D at step t, zeros included.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from ..errors import SaeuronError
from .calibration import calibrate
from .feature_set import Feature, FeatureSet, FeatureStep
from .statistics import RATE_UNITS, ActivationStatistics

MEANS_OF_ALL = ("prompts", "halves")
_EPSILON = 1e-12


@dataclass(frozen=True)
class SelectionSettings:
    """How features are chosen. Errors on construction: `SaeuronError`."""

    tau: int = 10
    """How many features, for each step."""

    dead: float = 0.01
    overactive: float = 0.99
    """Features that fire on a smaller share than `dead` or on a larger one than `overactive` are left out."""

    rate_unit: str = "image"
    """Share of what: an ``image`` on which the feature fires somewhere, or a ``token``. With k of n features kept, the
    mean rate per token is k / n, 0.2 % for sdxl-unbox: 1 % of tokens would leave out most good features."""

    per_step: bool = False
    """Choose for each step, as the paper does, or once for all steps together."""

    mean_all: str = "prompts"
    """What mu_i(D) is the mean over: all ``prompts``, which is SAeUron's with as many of each concept, or the two
    ``halves``, (mu_i(D_c) + mu_i(D_not_c)) / 2, whatever the size of each."""

    overlap: float = 1.0
    """Features whose share of all activation on the other prompts is more than this part of their share on the
    concept's are left out: they belong to the others, too, which change with them. 1 keeps all, as the paper does."""

    def __post_init__(self) -> None:
        if self.tau < 1:
            raise SaeuronError(f"tau, the number of features, must be at least 1, found {self.tau}.")
        if not 0 <= self.dead <= self.overactive <= 1:
            raise SaeuronError(
                "Firing rates must satisfy 0 <= dead <= overactive <= 1, "
                f"found dead {self.dead} and overactive {self.overactive}."
            )
        if not 0 <= self.overlap <= 1:
            raise SaeuronError(f"overlap must be between 0 and 1, found {self.overlap}.")
        for name, choices in (("rate_unit", RATE_UNITS), ("mean_all", MEANS_OF_ALL)):
            if getattr(self, name) not in choices:
                raise SaeuronError(f"Unknown {name} {getattr(self, name)!r}; choose one of {', '.join(choices)}.")


def score(concept: ActivationStatistics, others: ActivationStatistics, per_step: bool) -> Tensor:
    """The paper's score of every feature, -1 to 1: [s, n] float64, or [1, n] from means over all steps.

    Errors: `SaeuronError` if the two are of different SAEs or schedules, or one of them has no prompts.
    """
    share_concept, share_others = _shares(concept, others, per_step)
    return share_concept - share_others


def _shares(concept: ActivationStatistics, others: ActivationStatistics, per_step: bool) -> tuple[Tensor, Tensor]:
    """Each feature's share of all activation on the concept's prompts, and on the others; shapes, errors as `score`."""
    concept.check_comparable(others)
    for name, statistics in (("concept's", concept), ("other", others)):
        if not statistics.images.any():
            raise SaeuronError(f"The {name} statistics hold no prompts. Collect them with one prompt or more.")
    return _share(concept.mean(per_step)), _share(others.mean(per_step))


def _share(mean: Tensor) -> Tensor:
    return mean / (mean.sum(-1, keepdim=True) + _EPSILON)


def select_features(
    concept: ActivationStatistics, others: ActivationStatistics, settings: SelectionSettings
) -> FeatureSet:
    """The `settings.tau` features with the highest score; of equal ones those with the lower index.

    Only features with a score above 0 qualify. Firing rates are measured on both sets of prompts together. The set's
    detector is calibrated on the pictures that both statistics kept; if they kept too few, it has none.
    Errors: `SaeuronError` if the two can't be compared, one has no prompts, or fewer than tau features are left.
    """
    per_step, unit = settings.per_step, settings.rate_unit
    share_concept, share_others = _shares(concept, others, per_step)
    scores = share_concept - share_others
    both = concept.merge(others)
    mean_concept, rate_concept = concept.mean(per_step), concept.firing_rate(unit, per_step)
    rate_all = both.firing_rate(unit, per_step)
    halves = (mean_concept + others.mean(per_step)) / 2
    mean_all = halves if settings.mean_all == "halves" else both.mean(per_step)
    alive = (rate_all >= settings.dead) & (rate_all <= settings.overactive)
    own = share_others <= settings.overlap * share_concept
    sigmas = concept.sigmas if per_step else (None,)
    steps = []
    for step, sigma in enumerate(sigmas):
        chosen = _best(scores[step], alive[step], own[step], settings, sigma)
        columns = (table[step, chosen].tolist() for table in (scores, mean_concept, mean_all, rate_concept, rate_all))
        steps.append(FeatureStep(sigma, tuple(map(Feature, chosen.tolist(), *columns))))
    feature_set = FeatureSet(concept.concept, concept.sae, both.sampling, asdict(settings), tuple(steps))
    return replace(feature_set, detector=calibrate(feature_set, concept, others))


def _best(scores: Tensor, alive: Tensor, own: Tensor, settings: SelectionSettings, sigma: float | None) -> Tensor:
    """Indices of the tau best of one step."""
    left = (alive & own & (scores > 0)).nonzero().flatten()
    if len(left) < settings.tau:
        where = "" if sigma is None else f" at sigma {sigma:.4g}"
        raise SaeuronError(
            f"tau asks for {settings.tau} features, but only {len(left)} are left{where}: "
            f"{int((scores > 0).sum())} of {len(scores)} fire more for the concept than for the other prompts, "
            f"{int(own.sum())} at most {settings.overlap:.0%} as much for the others, and {int(alive.sum())} fire on "
            f"{settings.dead:.2%} to {settings.overactive:.2%} of {settings.rate_unit}s. "
            "Lower tau or dead, raise overlap or overactive, or collect statistics with more prompts."
        )
    order = torch.sort(scores[left], descending=True, stable=True).indices  # stable: of equal ones the lower index
    return left[order[: settings.tau]]
