"""Draw with the miniature in batches, straight from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saeuron.sae.hookpoints import find_hookpoint

from .text import tokenize
from .train_diffusion import Miniature, noise_schedule
from .training import autocast

BATCH = 100

Begin = tuple[Tensor, int]
"""Latents of pictures, and the step before which they are noised and gone on from, as img2img does."""


@cache
def schedule(steps: int) -> tuple[Tensor, list[float]]:
    """Timesteps and sigmas of the host's ``sgm_uniform`` schedule; the last sigma is 0."""
    alphas = noise_schedule()
    timesteps = torch.linspace(999, 0, steps + 1)[:-1].round().long()
    return timesteps, [*((1 - alphas) / alphas).sqrt()[timesteps].tolist(), 0.0]


@torch.inference_mode()
def euler(model: Miniature, tokens: Tensor, steps: int, cfg: float, seed: int, begin: Begin | None = None) -> Tensor:
    """Latents [b, 4, 24, 24] by Euler steps of the probability-flow ODE."""
    device = next(model.parameters()).device
    timesteps, sigmas = schedule(steps)
    noise = torch.randn(len(tokens), 4, 24, 24, generator=torch.Generator().manual_seed(seed)).to(device)
    tokens, first = tokens.to(device), 0
    x = noise * (1 + sigmas[0] ** 2) ** 0.5
    if begin is not None:
        first = begin[1]
        x = begin[0].to(device) + noise * sigmas[first]
    empty = tokenize([""]).to(device).expand(len(tokens), -1)
    for step in range(first, steps):
        sigma, following = sigmas[step], sigmas[step + 1]
        scaled, when = x / (sigma**2 + 1) ** 0.5, timesteps[step].to(device).expand(len(x))
        v = model(scaled, when, tokens)
        if cfg != 1:
            base = model(scaled, when, empty)
            v = base + cfg * (v - base)
        denoised = x / (sigma**2 + 1) - v * sigma / (sigma**2 + 1) ** 0.5
        x = denoised + (x - denoised) / sigma * following
    return x


@torch.inference_mode()
def draw(
    model: Miniature, autoencoder: Any, texts: Sequence[str], steps: int = 8, cfg: float = 1.0, seed: int = 0
) -> np.ndarray:
    """Pictures uint8 [b, 192, 192, 3]."""
    rows, device = [], next(model.parameters()).device
    for start in range(0, len(texts), BATCH):
        tokens = tokenize(list(texts[start : start + BATCH]))
        with autocast(device):
            pictures = autoencoder.taesd_decoder(euler(model, tokens, steps, cfg, seed + start))
        rows.append(pictures.float().clamp(0, 1).mul(255).round().permute(0, 2, 3, 1).byte().cpu().numpy())
    return np.concatenate(rows)


@contextmanager
def recorded(model: Miniature, hookpoints: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """While it draws, the update (output - input) of each hookpoint, float16 [b, h, w, d] a call."""
    calls: dict[str, list[Tensor]] = {name: [] for name in hookpoints}

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            update = output.float() - inputs[0].float()
            calls[name].append(update.permute(0, 2, 3, 1).half())  # BCHW -> BHWC

        return hook

    modules = [model.unet.get_submodule(find_hookpoint(name, "sdxl").module) for name in hookpoints]
    handles = [m.register_forward_hook(keep(name)) for m, name in zip(modules, hookpoints, strict=True)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def sheet(pictures: np.ndarray, columns: int, path: Path) -> None:
    """All of them at half size in one picture."""
    from PIL import Image

    rows = [np.concatenate(list(pictures[i : i + columns]), 1) for i in range(0, len(pictures), columns)]
    Image.fromarray(np.concatenate([row for row in rows if row.shape == rows[0].shape], 0)[::2, ::2]).save(path)
