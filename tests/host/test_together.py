"""Unlearn beside what else people put on a MODEL: the host's own patches, conditionings and samplers.

With each companion: an edit that changes nothing leaves the companion's picture bit-identical; a real edit acts; the
order of the two does not matter; and the model underneath is as before.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.companions import COMPANIONS, controlled, lora
from support.host_graph import Shot, sample, unlearn

SHOT = Shot(cfg=2.0)


@pytest.mark.parametrize("name", COMPANIONS)
def test_companion_on_the_model(miniature, sae, cats, name):
    model, companion = miniature[0], COMPANIONS[name]
    plain = sample(miniature, model, SHOT)
    alone = sample(miniature, companion(model), SHOT)
    nothing = {"multiplier": 1.0, "rule": "gamma"}
    assert not torch.equal(alone, plain), "the companion does nothing"
    assert torch.equal(sample(miniature, unlearn(companion(model), sae, cats, **nothing), SHOT), alone)
    after = sample(miniature, unlearn(companion(model), sae, cats), SHOT)
    before = sample(miniature, companion(unlearn(model, sae, cats)), SHOT)
    assert torch.equal(before, after)
    assert not torch.equal(after, alone) and torch.isfinite(after).all()
    assert torch.equal(sample(miniature, companion(model), SHOT), alone)
    assert torch.equal(sample(miniature, model, SHOT), plain)


def test_a_lora_reaches_the_same_weights_with_unlearn_before_or_after(miniature, sae, cats):
    model = miniature[0]
    assert set(lora(unlearn(model, sae, cats)).patches) == set(lora(model).patches)
    assert set(unlearn(lora(model), sae, cats).patches) == set(lora(model).patches)


def areas(miniature: tuple, conditioning: Any) -> Any:
    """The left half and the whole picture."""
    from nodes import ConditioningCombine, ConditioningSetArea

    left = ConditioningSetArea().append(conditioning, 64, 128, 0, 0, 1.0)[0]
    return ConditioningCombine().combine(left, conditioning)[0]


def masked(miniature: tuple, conditioning: Any) -> Any:
    """Another prompt in the upper half: the same one in both would be averaged to what it is alone."""
    from nodes import ConditioningCombine, ConditioningSetMask

    clip = miniature[1]
    mask = torch.zeros(1, 128, 128)
    mask[:, :64] = 1
    tower = clip.encode_from_tokens_scheduled(clip.tokenize("a tower"))
    top = ConditioningSetMask().append(tower, mask, "default", 1.0)[0]
    return ConditioningCombine().combine(top, conditioning)[0]


def ranged(miniature: tuple, conditioning: Any) -> Any:
    from nodes import ConditioningSetTimestepRange

    return ConditioningSetTimestepRange().set_range(conditioning, 0.0, 0.6)[0]


def run(miniature: tuple, model: Any, positive: Any, **changes: Any) -> torch.Tensor:
    """KSampler with any CONDITIONING."""
    from nodes import KSampler

    clip = miniature[1]
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    settings = {"seed": 5, "steps": 2, "cfg": 2.0, "denoise": 1.0, **changes}
    generator = torch.Generator().manual_seed(8)
    latent = {"samples": torch.randn(1, 4, 16, 16, generator=generator)}
    result = KSampler().sample(
        model, settings["seed"], settings["steps"], settings["cfg"], "euler", "sgm_uniform", positive, negative, latent,
        settings["denoise"],
    )  # fmt: skip
    return result[0]["samples"]


@pytest.mark.parametrize("conditioning", [controlled, areas, masked, ranged])
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_companion_on_the_conditioning(miniature, sae, cats, conditioning, cfg):
    model, clip, _ = miniature
    text = clip.encode_from_tokens_scheduled(clip.tokenize("a cat in twemoji style"))
    positive = conditioning(miniature, text)
    alone = run(miniature, model, positive, cfg=cfg)
    if conditioning is not ranged:
        assert not torch.equal(alone, run(miniature, model, text, cfg=cfg))
    nothing = unlearn(model, sae, cats, multiplier=1.0, rule="gamma")
    assert torch.equal(run(miniature, nothing, positive, cfg=cfg), alone)
    edited = run(miniature, unlearn(model, sae, cats), positive, cfg=cfg)
    assert torch.isfinite(edited).all() and not torch.equal(edited, alone)
    assert torch.equal(run(miniature, model, positive, cfg=cfg), alone)


def test_image_to_image(miniature, sae, cats):
    model, clip, _ = miniature
    text = clip.encode_from_tokens_scheduled(clip.tokenize("a cat"))
    alone = run(miniature, model, text, denoise=0.5)
    assert torch.equal(run(miniature, unlearn(model, sae, cats, 1.0, rule="gamma"), text, denoise=0.5), alone)
    assert not torch.equal(run(miniature, unlearn(model, sae, cats), text, denoise=0.5), alone)


@pytest.mark.parametrize("guider", ["CFGGuider", "BasicGuider"])
def test_custom_sampling_with_a_guider(miniature, sae, cats, guider):
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as host

    model, clip, _ = miniature
    text = clip.encode_from_tokens_scheduled(clip.tokenize("a cat"))
    noise, sampler = host.RandomNoise.execute(5).result[0], comfy.samplers.sampler_object("euler")
    sigmas = host.BasicScheduler.execute(model, "sgm_uniform", 2, 1.0).result[0]

    def draw(on: Any) -> torch.Tensor:
        arguments = (on, text) if guider == "BasicGuider" else (on, text, text, 2.0)
        guide = getattr(host, guider).execute(*arguments).result[0]
        latent = {"samples": torch.zeros(1, 4, 16, 16)}
        return host.SamplerCustomAdvanced.execute(noise, guide, sampler, sigmas, latent).result[0]["samples"]

    alone = draw(model)
    assert torch.equal(draw(unlearn(model, sae, cats, 1.0, rule="gamma")), alone)
    assert not torch.equal(draw(unlearn(model, sae, cats)), alone)
    assert torch.equal(draw(model), alone)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_weights_of_other_types(sae, cats, monkeypatch, dtype):
    """As ``--bf16-unet``, ``--fp16-unet`` and ``--fp8_e4m3fn-unet`` load them."""
    import comfy.model_management

    from tools.pack import pack

    monkeypatch.setattr(comfy.model_management, "unet_dtype", lambda **_: dtype)
    loaded = tuple(pack("nodes.load").SaeuronLoadMiniature.execute().result)
    model = loaded[0]
    assert next(model.model.diffusion_model.parameters()).dtype == dtype
    alone = sample(loaded, model, SHOT)
    assert torch.equal(sample(loaded, unlearn(model, sae, cats, 1.0, rule="gamma"), SHOT), alone)
    edited = sample(loaded, unlearn(model, sae, cats), SHOT)
    assert torch.isfinite(edited).all() and not torch.equal(edited, alone)
    assert torch.equal(sample(loaded, model, SHOT), alone)
