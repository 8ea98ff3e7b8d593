"""Reading a hookpoint while the host samples: codes of the conditional half go into statistics, nothing is edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...saeuron.statistics import ActivationStatistics
from .hooking import KEY, POSITIVE, HookedUNet, current_sigma, halves_of_rows
from .sockets import HostedSAE
from .unet import Site

RECORDER_KEY = f"{KEY}-recorder"


def with_recorder(model: Any, site: Site, sae: HostedSAE, statistics: ActivationStatistics) -> Any:
    """A clone of `model` that adds what it sees to `statistics`; interventions already on `model` stay and are seen."""
    from comfy.patcher_extension import WrappersMP

    def read(block_input: Tensor, block_output: Tensor, options: Mapping[str, Any]) -> None:
        rows = [row for row, half in enumerate(halves_of_rows(options, len(block_output))) if half == POSITIVE]
        if not rows:
            return
        with torch.no_grad():
            x = block_output[rows].float()
            if site.kind == "update":
                x = x - block_input[rows].float()
            statistics.add(current_sigma(options), sae.module.encode(x))

    recording = model.clone()
    recording.set_additional_models(RECORDER_KEY, [sae.patcher])
    recording.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, RECORDER_KEY, HookedUNet(((site.module, read),)))
    return recording
