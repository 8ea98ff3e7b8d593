"""Drawing pictures from which a feature set learns: prompts alone, and half-noised pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...saeuron.edits.call import Call
from ...saeuron.errors import SaeuronError
from ...saeuron.features.feature_set import FeatureSet
from ...saeuron.features.reading import NEUTRAL, Reading, learn_pictures
from ...saeuron.sae.model import SparseCodes
from ...saeuron.shots import Shot
from .drawing import BatchSampler
from .inputs import SamplingSettings
from .model import Recorder, add_recorder
from .sockets import HostedSAE
from .unet import find_site


def learn_by_host(
    model: Any,
    clip: Any,
    sae: HostedSAE,
    settings: SamplingSettings,
    feature_set: FeatureSet,
    concept: Sequence[Shot],
    others: Sequence[Shot],
) -> tuple[FeatureSet, Reading]:
    """`learn_pictures` from pictures of `concept` and of `others` that are drawn for it. Errors: as `PictureReader`."""
    reader = PictureReader(model, clip, sae, settings, 2 * (len(concept) + len(others)) + len(concept))
    of_concept, of_others = (reader.noised(shots, reader.draw(shots)) for shots in (concept, others))
    prompts = reader.first(concept)
    return learn_pictures(feature_set, prompts, of_concept, of_others, reader.sigmas[0], reader.noised_sigma)


class PictureReader:
    """Draws pictures and lets the SAE look at them; `pictures` says how many times in all, for the progress bar.

    Errors: `SaeuronError` for a schedule of a single step, which has no half.
    """

    def __init__(self, model: Any, clip: Any, sae: HostedSAE, settings: SamplingSettings, pictures: int) -> None:
        self._model, self._sae = model, sae
        self._sampler = BatchSampler(model, clip, settings, pictures)
        self.sigmas = self._sampler.sigmas.tolist()
        self._half = (len(self.sigmas) - 1) // 2
        if self._half < 1:
            raise SaeuronError("Pictures can't be half-noised in a run of one step; set steps to 2 or more.")

    @property
    def noised_sigma(self) -> float:
        """The noise level that `noised` puts on pictures, half of the way through the schedule."""
        level: float = self.sigmas[self._half]
        return level

    def draw(self, shots: Sequence[Shot]) -> Tensor:
        """Latents [len(shots), 4, h, w]."""
        drawn: dict[int, Tensor] = {}
        for places, latents in self._sampler.run(self._model, shots):
            drawn.update(zip(places, latents, strict=True))
        return torch.stack([drawn[place] for place in range(len(shots))])

    def first(self, shots: Sequence[Shot]) -> list[SparseCodes]:
        """What the SAE sees of each of `shots` in a run's first call, [h, w, k]."""
        return self._look(shots, 0)

    def noised(self, shots: Sequence[Shot], latents: Tensor) -> list[SparseCodes]:
        """The same for `latents` [len(shots), 4, h, w] with noise on them again, under a prompt that names nothing."""
        # With its own seed a picture would get the very noise that it was made of.
        neutral = [Shot(NEUTRAL, shot.seed + 2**32) for shot in shots]
        return self._look(neutral, self._half, latents)

    def _look(self, shots: Sequence[Shot], step: int, start: Tensor | None = None) -> list[SparseCodes]:
        found: dict[int, SparseCodes] = {}
        site = find_site(self._model, self._sae.identity)
        for places in self._sampler.batches(shots):
            recorded = add_recorder(self._model, Recorder(site, self._sae, partial(_keep, found, places)))
            own = None if start is None else start[places]
            self._sampler.sample_step(recorded, [shots[place] for place in places], step, own)
        return [found[place] for place in range(len(shots))]


def _keep(
    found: dict[int, SparseCodes], places: Sequence[int], call: Call, rows: Sequence[int], codes: SparseCodes
) -> None:
    for row, values, indices in zip(rows, codes.values.cpu(), codes.indices.cpu(), strict=True):
        # Samplers of second order call the UNet twice in a step.
        found.setdefault(places[call.picture(row)], SparseCodes(values, indices))
