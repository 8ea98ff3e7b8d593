"""Drawing pictures to see what the SAE sees in them; nothing is edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from ...saeuron.edits.call import Call
from ...saeuron.sae.model import SparseCodes
from ...saeuron.shots import Shot
from .drawing import BatchSampler
from .inputs import SamplingSettings
from .model import Recorder, add_recorder
from .sockets import HostedSAE
from .unet import find_site

Keep = Callable[[float, SparseCodes], None]
"""Noise level, codes [B, h, w, k]."""


def record_pictures(
    model: Any,
    clip: Any,
    sae: HostedSAE,
    settings: SamplingSettings,
    shots: Sequence[Shot],
    keepers: Sequence[Keep],
) -> list[Tensor]:
    """Draw each shot and hand what the SAE sees of it to its keeper; the latents, [1, 4, h, w] each.

    At cfg above 1 the negative prompt is empty.
    """
    site = find_site(model, sae.identity)
    sampler = BatchSampler(model, clip, settings, len(shots), at_once=1)
    latents: dict[int, Tensor] = {}
    for (place,) in sampler.batches(shots):
        recorder = Recorder(site, sae, partial(_hand_on, keepers[place]))
        latents[place] = sampler.sample(add_recorder(model, recorder), [shots[place]])
    return [latents[place] for place in range(len(shots))]


def _hand_on(keep: Keep, call: Call, _: Sequence[int], codes: SparseCodes) -> None:
    keep(call.sigma, codes)
