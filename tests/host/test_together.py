"""Unlearn beside what else people put on a MODEL: the host's own patches, conditionings and samplers.

With each companion: an edit that changes nothing leaves the companion's picture bit-identical; a real edit acts; the
order of the two does not matter; and the model underneath is as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from support.host_graph import Shot, sample, unlearn

SHOT = Shot(cfg=2.0)


def lora(model: Any, clip: Any = None) -> Any:
    """A LoRA of rank 2 on every attention projection of the UNet."""
    import comfy.lora
    import comfy.sd

    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    weights = model.model.state_dict()
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, key in keys.items():
        if isinstance(key, str) and name.startswith("lora_unet_") and "attn2_to_" in name and key in weights:
            out, into = weights[key].shape
            tensors[f"{name}.lora_up.weight"] = torch.randn(out, 2, generator=generator) * 0.1
            tensors[f"{name}.lora_down.weight"] = torch.randn(2, into, generator=generator) * 0.1
    assert len(tensors) > 20
    return comfy.sd.load_lora_for_models(model, None, tensors, 1.0, 1.0)[0]


def free_u(model: Any) -> Any:
    from comfy_extras.nodes_freelunch import FreeU_V2

    return FreeU_V2().patch(model, 1.3, 1.4, 0.9, 0.2)[0]


def perturbed_attention(model: Any) -> Any:
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance

    return PerturbedAttentionGuidance.execute(model, 3.0).result[0]


def rescale_cfg(model: Any) -> Any:
    from comfy_extras.nodes_model_advanced import RescaleCFG

    return RescaleCFG().patch(model, 0.7)[0]


def hyper_tile(model: Any) -> Any:
    from comfy_extras.nodes_hypertile import HyperTile

    # Depth 1, because the miniature has no attention at full resolution.
    return HyperTile.execute(model, 32, 2, 1, False)[0]


def merged(model: Any) -> Any:
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    return ModelMergeSimple().merge(model, lora(model), 0.5)[0]


COMPANIONS: dict[str, Callable[[Any], Any]] = {
    f.__name__: f for f in (lora, free_u, perturbed_attention, rescale_cfg, hyper_tile, merged)
}


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


def controlled(miniature: tuple, conditioning: Any) -> Any:
    """CONDITIONING with a ControlNet of random weights in the miniature's shape."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops
    from nodes import ControlNetApplyAdvanced

    left_out = ("out_channels", "transformer_depth_output", "disable_unet_model_creation", "dtype")
    config = {k: v for k, v in miniature[0].model.model_config.unet_config.items() if k not in left_out}
    torch.manual_seed(3)
    net = comfy.cldm.cldm.ControlNet(
        **config,
        hint_channels=3,
        operations=comfy.ops.manual_cast,
        dtype=torch.float32,
        device="cpu",
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    control = comfy.controlnet.ControlNet(net, load_device=torch.device("cpu"), manual_cast_dtype=None)
    apply = ControlNetApplyAdvanced().apply_controlnet
    return apply(conditioning, conditioning, control, torch.rand(1, 128, 128, 3), 1.0, 0.0, 1.0)[0]


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
