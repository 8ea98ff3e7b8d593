"""One step of SDXL's UNet at full size, random weights: what one concept, and what several, add to it."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tools.pack import pack
from tools.sae_files import write_unbox

from .edit import FEATURES, RATE
from .full_size import sdxl_model
from .timing import rounded, time_in_turns

D, N, K = 1280, 5120, 10
CONCEPTS = {"1 concept": 1, "4 concepts": 4, "16 concepts": 16}
SIGMA = 5.0
BLOCK = "output_blocks.1.1"


class FullSize(NamedTuple):
    model: Any
    """The host's MODEL."""

    sae: Any
    """A `HostedSAE`."""

    noise: Tensor
    conditioning: list[Any]


def make(pixels: int) -> FullSize:
    generator = torch.Generator().manual_seed(3)
    side = pixels // 8
    context, pooled = torch.randn(1, 77, 2048, generator=generator), torch.randn(1, 1280, generator=generator)
    return FullSize(
        sdxl_model(),
        _hosted_sae(),
        torch.randn(1, 4, side, side, generator=generator),
        [[context, {"pooled_output": pooled}]],
    )


def _hosted_sae() -> Any:
    import comfy.model_patcher
    import comfy.ops

    with tempfile.TemporaryDirectory() as folder:
        published = Path(folder) / "unet.up_blocks.0.attentions.1_k10_hidden5120" / "final"
        write_unbox(published, D, N, K, with_moments=False)
        loaded = pack("saeuron.sae.files").load_sae(published, operations=comfy.ops.manual_cast)
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(loaded.sae, load_device=cpu, offload_device=cpu)
    return pack("nodes.host.sockets").HostedSAE(patcher, loaded.identity)


def step(full: FullSize, model: Any) -> Tensor:
    import comfy.sample
    import comfy.samplers

    latents: Tensor = comfy.sample.sample_custom(
        model, full.noise, 1.0, comfy.samplers.sampler_object("euler"), torch.tensor([SIGMA, 0.0]),
        full.conditioning, full.conditioning, torch.zeros_like(full.noise), disable_pbar=True,
    )  # fmt: skip
    return latents


def feature_sets(full: FullSize, concepts: int) -> list[Any]:
    """`FEATURES` for each concept, those that fire on about `RATE` of the tokens; thresholds are their means."""
    kept: list[Tensor] = []
    block = full.model.get_model_object("diffusion_model").get_submodule(BLOCK)
    handle = block.register_forward_hook(lambda _m, inputs, output: kept.append(output - inputs[0]))
    try:
        step(full, full.model)
    finally:
        handle.remove()
    library, codes = pack("saeuron.features.feature_set"), full.sae.module.encode(kept[0].permute(0, 2, 3, 1))
    tokens = codes.indices[..., 0].numel()
    rates = torch.bincount(codes.indices.flatten(), minlength=N) / tokens
    order = (rates - RATE).abs().argsort(stable=True)
    sets = []
    for concept in range(concepts):
        chosen = order[concept * FEATURES : (concept + 1) * FEATURES].sort().values
        means = codes.of(chosen).reshape(tokens, FEATURES).mean(0).tolist()
        features = tuple(
            library.Feature(index, mean_concept=0.5, mean_all=mean)
            for index, mean in zip(chosen.tolist(), means, strict=True)
        )
        sets.append(
            library.FeatureSet(f"random {concept}", full.sae.identity, {}, {}, (library.FeatureStep(None, features),))
        )
    return sets


def patched(model: Any, sae: Any, sets: list[Any], multiplier: float = -20.0) -> Any:
    """One Unlearn for each feature set, chained."""
    patching, site = pack("nodes.host.model"), pack("nodes.host.unet").find_site(model, sae.identity)
    for feature_set in sets:
        intervention = pack("saeuron.edits.intervention").Intervention(feature_set, multiplier)
        model = patching.add_patch(model, patching.Patch(site, sae, intervention))
    return model


def measure(pixels: int = 512, repeats: int = 9) -> dict[str, Any]:
    """Seconds of a step: off, and with each number of `CONCEPTS`; and of the edit by itself, inside such a step."""
    full = make(pixels)
    sets = feature_sets(full, max(CONCEPTS.values()))
    models = {
        "off": full.model,
        **{name: patched(full.model, full.sae, sets[:count]) for name, count in CONCEPTS.items()},
    }
    plain, edited = step(full, full.model), step(full, models["1 concept"])
    if torch.equal(plain, edited):
        raise RuntimeError("Nothing was edited, so there is nothing to time.")
    if not torch.equal(step(full, full.model), plain):
        raise RuntimeError("The patch left something in the model.")
    seconds = time_in_turns({name: partial(step, full, model) for name, model in models.items()}, repeats, warm_up=0)
    return {"pixels": pixels, "seconds": rounded(seconds), **_edit(full, models)}


def _edit(full: FullSize, models: dict[str, Any]) -> dict[str, Any]:
    """Profile of one patched step: what the edit takes, and the operations of the whole step."""
    from torch.profiler import ProfilerActivity, profile, record_function

    patching: Any = pack("saeuron.edits.intervention")
    intervene, share, operations = patching.intervene, {}, {}

    def recorded(*args: Any) -> Tensor:
        with record_function("saeuron edit"):
            edited: Tensor = intervene(*args)
            return edited

    patching.intervene = recorded
    try:
        for name, model in models.items():
            if name == "off":
                continue
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                step(full, model)
            averages = profiler.key_averages()
            edit = next(entry for entry in averages if entry.key == "saeuron edit")
            share[name] = round(edit.cpu_time_total / sum(e.self_cpu_time_total for e in averages), 5)
            if name == "1 concept":
                top = sorted(averages, key=lambda e: -e.self_cpu_time_total)[:8]
                operations = {e.key: round(e.self_cpu_time_total / 1e6, 3) for e in top}
    finally:
        patching.intervene = intervene
    return {"edit_share_of_step": share, "profile_seconds": operations}
