"""Drawing pictures to see what a feature set reads: prompts alone, and half-noised pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...saeuron.edits.call import Call
from ...saeuron.errors import SaeuronError
from ...saeuron.features.feature_set import FeatureSet
from ...saeuron.features.reading import NEUTRAL, Reading, read_pictures
from ...saeuron.sae.model import SparseCodes
from ...saeuron.shots import Shot
from .drawing import BatchSampler
from .inputs import SamplingSettings
from .model import Recorder, add_recorder
from .sockets import HostedSAE
from .unet import find_site


def read_by_host(
    model: Any,
    clip: Any,
    sae: HostedSAE,
    settings: SamplingSettings,
    feature_set: FeatureSet,
    concept: Sequence[Shot],
    others: Sequence[Shot],
) -> Reading:
    """What `feature_set` reads, told by pictures of `concept` and of `others` that are drawn for it.

    Errors: `SaeuronError` for a schedule of a single step, which has no half.
    """
    pictures = 2 * (len(concept) + len(others)) + len(concept)
    sampler = BatchSampler(model, clip, settings, pictures)
    if (half := (len(sampler.sigmas) - 1) // 2) < 1:
        raise SaeuronError("Pictures can't be half-noised in a run of one step; set steps to 2 or more.")
    look = partial(_codes, sampler, model, sae)
    noised = [look(_neutral(shots), half, _draw(sampler, model, shots)) for shots in (concept, others)]
    sigmas = sampler.sigmas.tolist()
    return read_pictures(feature_set, look(concept), *noised, sigmas[0], sigmas[half])


def _neutral(shots: Sequence[Shot]) -> list[Shot]:
    """As many that name nothing; noise of their own, or that which is put on a picture would be what it was made of."""
    return [Shot(NEUTRAL, shot.seed + 2**32) for shot in shots]


def _draw(sampler: BatchSampler, model: Any, shots: Sequence[Shot]) -> Tensor:
    """Latents [len(shots), 4, h, w], in the order of `shots`."""
    drawn: dict[int, Tensor] = {}
    for places, latents in sampler.run(model, shots):
        drawn.update(zip(places, latents, strict=True))
    return torch.stack([drawn[place] for place in range(len(shots))])


def _codes(
    sampler: BatchSampler, model: Any, sae: HostedSAE, shots: Sequence[Shot], step: int = 0, start: Tensor | None = None
) -> list[SparseCodes]:
    """What the SAE sees of each of `shots`, [h, w, k], in the first call of that step."""
    found: dict[int, SparseCodes] = {}
    site = find_site(model, sae.identity)
    for places in sampler.batches(shots):
        recorder = Recorder(site, sae, partial(_keep, found, places))
        own = None if start is None else start[places]
        sampler.sample_step(add_recorder(model, recorder), [shots[place] for place in places], step, own)
    return [found[place] for place in range(len(shots))]


def _keep(
    found: dict[int, SparseCodes], places: Sequence[int], call: Call, rows: Sequence[int], codes: SparseCodes
) -> None:
    for row, values, indices in zip(rows, codes.values.cpu(), codes.indices.cpu(), strict=True):
        # Samplers of second order call the UNet twice in a step.
        found.setdefault(places[call.picture(row)], SparseCodes(values, indices))
