"""Feature sets by hand: the strongest features of a picture or of a painted part of it, or known indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..regions import tokens_inside
from ..sae.model import SAEIdentity, SparseCodes
from .feature_set import Feature, FeatureSet, FeatureStep
from .selection import score
from .statistics import ActivationStatistics

MAX_INDICES = 1000


class FeatureFinder:
    """Collects the codes of pictures, and finds the features that are strongest in them.

    With a `region` [M, H, W] the first mask's tokens are compared with the other tokens of the same pictures, by the
    score that tells concepts apart (`selection.score`, arXiv 2501.18052): what fires everywhere does not count.
    Without one the mean activation decides, as in the app of Surkov et al. (arXiv 2410.22366).
    """

    def __init__(
        self, sae: SAEIdentity, sigmas: Sequence[float], sampling: Mapping[str, Any], region: Tensor | None = None
    ) -> None:
        self._region = region
        self._inside = ActivationStatistics(sae, sigmas, sampling)
        self._outside = ActivationStatistics(sae, sigmas, sampling)

    def add(self, sigma: float, codes: SparseCodes) -> None:
        """Codes [B, H, W, k] at noise level `sigma`. Errors: as `tokens_inside` and `ActivationStatistics.add`."""
        if self._region is None:
            self._inside.add(sigma, codes)
            return
        inside = tokens_inside(self._region, *codes.values.shape[1:3]).to(codes.values.device)
        for statistics, chosen in ((self._inside, inside), (self._outside, ~inside)):
            statistics.add(sigma, SparseCodes(codes.values[:, chosen], codes.indices[:, chosen]))

    def find(self, count: int, concept: str) -> FeatureSet:
        """The `count` best features over all steps, or as many as fire; of equal ones those with the lower index.

        `mean_concept` and `rate_concept`, per token, are of the region (or of the whole picture), `mean_all` and
        `rate_all` of the whole picture; without a region nothing is known about other pictures, so these two are None.
        Errors: `SaeuronError` if no feature qualifies.
        """
        inside, region = self._inside, self._region is not None
        mean, rate = inside.mean(False)[0], inside.firing_rate("token", False)[0]
        ranked = score(inside, self._outside, False)[0] if region else mean
        left = ((mean > 0) & (ranked > 0)).nonzero().flatten()
        if not len(left):
            raise SaeuronError("No feature fires there more than elsewhere. Paint another region.")
        best = left[torch.sort(ranked[left], descending=True, stable=True).indices[:count]]
        both = inside.merge(self._outside) if region else None
        known: dict[str, list[float]] = {"mean_concept": mean[best].tolist(), "rate_concept": rate[best].tolist()}
        if both is not None:
            known["score"] = ranked[best].tolist()
            known["mean_all"] = both.mean(False)[0, best].tolist()
            known["rate_all"] = both.firing_rate("token", False)[0, best].tolist()
        features = tuple(
            Feature(index, **{name: values[place] for name, values in known.items()})
            for place, index in enumerate(best.tolist())
        )
        by = "score against the rest of the picture" if region else "mean activation"
        selection = {"found_by": by, "count": count, "rate_unit": "token"}
        return FeatureSet(concept, inside.sae, inside.sampling, selection, (FeatureStep(None, features),))


def features_by_index(sae: SAEIdentity, indices: Sequence[int], concept: str) -> FeatureSet:
    """A feature set of nothing but indices. Errors: `SaeuronError` if the SAE does not have one of them."""
    features = tuple(Feature(index) for index in indices)
    return FeatureSet(concept, sae, {}, {"found_by": "hand"}, (FeatureStep(None, features),))


def parse_indices(text: str) -> list[int]:
    """Whole numbers between commas, spaces and lines, each once; what follows a # is left out.

    Errors: `SaeuronError` for none, too many, or what is no whole number from 0.
    """
    words = " ".join(line.partition("#")[0] for line in text.splitlines()).replace(",", " ").split()
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) < 10):
            raise SaeuronError(f"Feature indices are whole numbers from 0 between commas, found {word[:80]!r}.")
    indices = list(dict.fromkeys(map(int, words)))
    if not 1 <= len(indices) <= MAX_INDICES:
        raise SaeuronError(f"Give 1 to {MAX_INDICES} feature indices between commas; found {len(indices)}.")
    return indices
