"""Putting noise on pictures, for runs that begin from one and not from noise alone."""

from __future__ import annotations

from torch import Tensor

from .errors import SaeuronError


def noised(latents: Tensor, noise: Tensor, sigma: float, highest: bool = False) -> Tensor:
    """What a run that begins from `latents` at noise level `sigma` starts with: ``latents + sigma * noise``.

    Both are [B, c, h, w], the latents in the UNet's own scale, the noise of variance 1. At the `highest` level of a
    model's schedule noise is scaled by ``sqrt(1 + sigma^2)``, as ComfyUI's samplers do it; zeros as latents then give
    what a run from noise alone starts with.
    Errors: `SaeuronError` if the shapes differ or sigma is not above 0.
    """
    if latents.shape != noise.shape or not 0 < sigma < float("inf"):
        raise SaeuronError(
            f"Noise {list(noise.shape)} at sigma {sigma:g} can't be put on latents {list(latents.shape)}: the shapes "
            "must be the same and sigma a finite number above 0."
        )
    return latents + noise * ((1 + sigma**2) ** 0.5 if highest else sigma)
