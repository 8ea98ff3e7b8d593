"""Reading a hookpoint while the host samples: codes of the conditional half are handed on, nothing is edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...saeuron.sae.model import SparseCodes, read_tokens
from ...saeuron.shots import Shot
from .drawing import BatchSampler
from .hook import KEY, POSITIVE, HookedUNet, current_sigma, halves_of_rows
from .inputs import SamplingSettings
from .sockets import HostedSAE
from .unet import Site, find_site

RECORDER_KEY = f"{KEY}-recorder"

Keep = Callable[[float, SparseCodes], None]
"""Noise level, codes [B, h, w, k]."""


def with_recorder(model: Any, site: Site, sae: HostedSAE, keep: Keep) -> Any:
    """A clone of `model` that hands what it sees to `keep`; edits already on `model` stay and are seen."""
    from comfy.patcher_extension import WrappersMP

    def read(block_input: Tensor, block_output: Tensor, options: Mapping[str, Any]) -> None:
        rows = [row for row, half in enumerate(halves_of_rows(options, len(block_output))) if half == POSITIVE]
        if not rows:
            return
        with torch.no_grad():
            x = read_tokens(site.kind, block_input[rows], block_output[rows])
            keep(current_sigma(options), sae.module.encode(x))

    recording = model.clone()
    recording.set_additional_models(RECORDER_KEY, [sae.patcher])
    recording.add_wrapper_with_key(WrappersMP.APPLY_MODEL, RECORDER_KEY, HookedUNet(((site.module, read),)))
    return recording


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
        recording = with_recorder(model, site, sae, keepers[place])
        latents[place] = sampler.sample(recording, [shots[place]])
    return [latents[place] for place in range(len(shots))]
