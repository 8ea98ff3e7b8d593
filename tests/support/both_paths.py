"""The same drawing on the host and on the reference path, and how near their numbers are."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from tools.pack import pack

RELATIVE = 1e-4
HOOKPOINT = "up_blocks.0.attentions.1"
SIZES = {"steps": 2, "width": 128, "height": 128}
"""As `Shot` has them."""


@cache
def _miniature() -> tuple[Any, Any]:
    """The reference path's model, and the SAE that the pack's nodes load as well."""
    file = pack("nodes.host.folders").find_sae(f"miniature-{HOOKPOINT}.safetensors")
    return pack("saeuron.reference.miniature").load_miniature(), pack("saeuron.sae.files").load_sae(file)


def reference_pipeline(**settings: Any) -> Any:
    """A `ReferencePipeline` of the miniature, with the sizes of `Shot` unless `settings` says otherwise."""
    chosen = pack("saeuron.reference.sampling").ReferenceSettings(**{**SIZES, **settings})
    return pack("saeuron.reference.pipeline").ReferencePipeline(*_miniature(), chosen)


def host_settings(cfg: float, steps: int = 2) -> Any:
    """Those with which the host draws as the reference path does."""
    return pack("nodes.host.inputs").SamplingSettings(
        "euler", "sgm_uniform", steps, cfg, SIZES["width"], SIZES["height"]
    )


def host_pipeline(miniature: tuple, sae: Any, cfg: float, shots: int, negative: str = "", steps: int = 2) -> Any:
    """A `HostPipeline` of `miniature`, MODEL, CLIP and VAE."""
    return pack("nodes.host.drawing").HostPipeline(*miniature, sae, host_settings(cfg, steps), shots, negative)


def assert_near(a: Tensor, b: Tensor, tolerance: float = RELATIVE) -> None:
    """Relative to the largest value: a rounding error of a block is that of its largest terms."""
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max()


def assert_same_pictures(a: np.ndarray, b: np.ndarray) -> None:
    near = np.abs(a.astype(int) - b.astype(int)) <= 2
    assert near.all(-1).mean() >= 0.99


class Kept(list):
    """Keeps what NNsight sees at each step: block input, output, and the output after `edit`, channels first."""

    def __init__(self, edit: Any = None) -> None:
        self._edit = edit

    def sample(self, pipeline: Any, shots: list) -> Tensor:
        """Latents of `pipeline`."""
        return pipeline.sampler.sample(shots, lambda call, unet: unet({pipeline.hookpoint: self.reader(call)}))

    def reader(self, call: Any) -> Any:
        def read(block_input: Tensor, block_output: Tensor) -> Tensor:
            edited = block_output if self._edit is None else self._edit(call, block_input, block_output)
            self.append([x.permute(0, 3, 1, 2).clone() for x in (block_input, block_output, edited)])
            return edited

        return read
