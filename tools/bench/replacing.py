"""Steps of SDXL's UNet at full size, random weights: what Replace Concept adds to the first and to later ones."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tools.pack import pack

from .overhead import D, FullSize, K, N, feature_sets, make
from .timing import rounded, time_in_turns

SIGMAS = (14.6, 5.0, 0.0)
"""A first step, and one after it."""

PARTS = {"gate closed": 0.0, "half of the picture": 0.5, "whole picture": 1.0}
"""How much of the picture is replaced."""


def measure(pixels: int = 512, repeats: int = 3) -> dict[str, Any]:
    """Seconds of the first and of the second step of a run: off, and with each of `PARTS` replaced."""
    full = make(pixels)
    (feature_set,) = feature_sets(full, 1)
    models = {"off": full.model, **{name: replacing(full, feature_set, share) for name, share in PARTS.items()}}
    seconds: dict[str, dict[str, list[float]]] = {when: {name: [] for name in models} for when in ("first", "later")}

    def run(name: str) -> None:
        _, steps = timed_run(full, models[name])
        for when, step in zip(("first", "later"), steps, strict=True):
            seconds[when][name].append(step)

    check(full, models)
    time_in_turns({name: partial(run, name) for name in models}, repeats, warm_up=0)
    return {"pixels": pixels, "d": D, "n": N, "k": K, **{when: rounded(of) for when, of in seconds.items()}}


def check(full: FullSize, models: dict[str, Any]) -> None:
    """It is also the round that warms up. Errors: `RuntimeError` if a model does not do what its name says."""
    plain, _ = timed_run(full, models["off"])
    for name, share in PARTS.items():
        drawn, _ = timed_run(full, models[name])
        if torch.equal(drawn, plain) != (share == 0):
            raise RuntimeError(f"{name}: the picture is {'another one' if share == 0 else 'not changed'}.")


def replacing(full: FullSize, feature_set: Any, share: float) -> Any:
    """The MODEL with one replacement on it, which acts on that share of the tokens.

    For a share of 0 the features of `feature_set` mark few tokens, and its gate stays closed; for others all of the
    SAE's features mark a token, and a mask limits them.
    """
    edits, host, side = pack("saeuron.edits.replace"), pack("nodes.host.replacing"), 64
    if share:
        features = tuple(pack("saeuron.features.feature_set").Feature(index, mean_all=0.0) for index in range(N))
        feature_set = replace(feature_set, steps=(replace(feature_set.steps[0], features=features),))
    else:
        feature_set = replace(feature_set, detector=pack("saeuron.features.detector").Detector(gate=1.0))
    region = torch.zeros(1, side, side)
    region[:, :, : round(side * (share or 1.0))] = 1
    generator = torch.Generator().manual_seed(4)
    concept, instead = (torch.randn(1, 77, 2048, generator=generator) for _ in range(2))
    site = pack("nodes.host.unet").find_site(full.model, full.sae.identity)
    patch = host.ReplacementPatch(site, full.sae, edits.Replacement(feature_set, region=region), concept, instead)
    return pack("nodes.host.model").add_replacement(full.model, patch)


def timed_run(full: FullSize, model: Any) -> tuple[Tensor, list[float]]:
    """Latents, and the seconds of each step."""
    import comfy.sample
    import comfy.samplers

    seconds: list[float] = []

    def look(apply: Any, call: Any) -> Any:
        began = time.perf_counter()
        result = apply(call["input"], call["timestep"], **call["c"])
        seconds.append(time.perf_counter() - began)
        return result

    watched = model.clone()
    watched.set_model_unet_function_wrapper(look)
    latents = comfy.sample.sample_custom(
        watched, full.noise, 1.0, comfy.samplers.sampler_object("euler"), torch.tensor(SIGMAS),
        full.conditioning, full.conditioning, torch.zeros_like(full.noise), disable_pbar=True,
    )  # fmt: skip
    return latents, seconds
