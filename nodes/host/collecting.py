"""Collecting activation statistics: the expensive stage, one sampling run per prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...saeuron.edits.call import Call
from ...saeuron.features.statistics import ActivationStatistics
from ...saeuron.sae.model import SparseCodes
from ...saeuron.shots import Shot
from .drawing import BatchSampler
from .inputs import SamplingSettings
from .model import Recorder, add_recorder
from .resuming import Unfinished, everything_asked, forget, recall, remember
from .sockets import HostedSAE
from .unet import find_site


def collect(
    model: Any, clip: Any, sae: HostedSAE, settings: SamplingSettings, shots: Sequence[Shot]
) -> ActivationStatistics:
    """The statistics of `shots`, drawn by the host; a run that was interrupted goes on where it was."""
    sampler = BatchSampler(model, clip, settings, len(shots))
    empty = partial(ActivationStatistics, sae.identity, sampler.sigmas[:-1].tolist(), settings.as_dict())
    asked = everything_asked(model, clip, sae, settings, shots)
    done = recall(model, asked) or Unfinished(asked, empty(), 0)
    site = find_site(model, sae.identity)
    for number, places in enumerate(sampler.batches(shots)):
        if number < done.batches:
            sampler.skip(len(places))
            continue
        batch, drawn = empty(), [shots[place] for place in places]
        recording = add_recorder(model, Recorder(site, sae, partial(_add, batch, drawn)))
        sampler.sample(recording, drawn)  # the pictures themselves are not needed
        # A batch counts once it is whole; merging is exact, so it does not matter where a run was interrupted.
        done = Unfinished(asked, done.statistics.merge(batch), done.batches + 1)
        remember(model, done)
    forget(model)
    return done.statistics


def _add(
    statistics: ActivationStatistics, shots: Sequence[Shot], call: Call, rows: Sequence[int], codes: SparseCodes
) -> None:
    statistics.add(call.sigma, codes, [shots[call.picture(row)].name for row in rows])
