"""Drawing pictures to learn about a model's blocks: what an SAE makes of one, and what is drawn without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ...saeuron.edits.call import Call
from ...saeuron.evaluation.fit import Fit, FitMeter
from ...saeuron.shots import Shot
from .drawing import BatchSampler
from .inputs import SamplingSettings
from .model import TokenRecorder, add_recorder, leave_out
from .pictures import to_pixels
from .sockets import HostedSAE
from .unet import find_site, transformer_blocks


def measure_fit(model: Any, clip: Any, sae: HostedSAE, settings: SamplingSettings, shots: Sequence[Shot]) -> Fit:
    """How `sae` does on the pictures of `shots`, of their positive half. Errors: as `find_site`."""
    site = find_site(model, sae.identity)
    sampler = BatchSampler(model, clip, settings, len(shots))
    meter = FitMeter(sae.module, site.kind, sampler.sigmas[:-1].tolist())
    for _ in sampler.run(add_recorder(model, TokenRecorder(site, sae, partial(_add, meter))), shots):
        pass
    return meter.fit()


def _add(meter: FitMeter, call: Call, given: Tensor, gave: Tensor) -> None:
    meter.add(call.sigma, given, gave)


def without_each_block(
    model: Any,
    clip: Any,
    vae: Any,
    settings: SamplingSettings,
    shots: Sequence[Shot],
    see: Callable[[str, np.ndarray], None],
) -> None:
    """Draw `shots` with the model as it is, and without each of its transformer blocks in turn.

    `see` is given the block's hookpoint, empty for none, and the pictures uint8 [len(shots), H, W, 3].
    """
    blocks = {"": "", **transformer_blocks(model)}
    sampler = BatchSampler(model, clip, settings, len(shots) * len(blocks))
    for hookpoint, module in blocks.items():
        drawn = _drawn(sampler, leave_out(model, module) if module else model, shots)
        latents = dict(drawn)
        see(hookpoint, np.concatenate([to_pixels(vae.decode(latents[place][None])) for place in range(len(shots))]))


def _drawn(sampler: BatchSampler, model: Any, shots: Sequence[Shot]) -> Iterator[tuple[int, Tensor]]:
    for places, latents in sampler.run(model, shots):
        yield from zip(places, latents, strict=True)
