"""The miniature's weights under diffusers' names and back: every name has a place, every bit is kept."""

from __future__ import annotations

import importlib

import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.miniature.loading import load_weights
from saeuron.reference import require_nnsight
from saeuron.reference.layout import (
    autoencoder_to_comfyui,
    autoencoder_to_diffusers,
    text_to_comfyui,
    text_to_transformers,
    unet_to_comfyui,
    unet_to_diffusers,
)
from saeuron.reference.miniature import build_autoencoder, build_text_encoder, build_unet
from saeuron.sae.hookpoints import hookpoints_of


def assert_same(a, b):
    assert set(a) == set(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_the_unet_goes_to_diffusers_and_back():
    weights = load_weights("unet")
    # build_unet loads strictly: diffusers' own class has exactly these names and shapes.
    assert_same(unet_to_comfyui(build_unet().state_dict()), weights)
    assert_same(unet_to_diffusers(unet_to_comfyui(unet_to_diffusers(weights))), unet_to_diffusers(weights))


def test_the_autoencoder_goes_to_diffusers_and_back():
    weights, back = load_weights("autoencoder"), autoencoder_to_comfyui(build_autoencoder().state_dict())
    scale = weights.pop("vae_scale"), back.pop("vae_scale")
    torch.testing.assert_close(*scale, rtol=1e-4, atol=0)  # the file has it in float16
    assert_same(back, weights)


def test_the_text_encoder_goes_to_transformers_and_back():
    weights, text = load_weights("text"), build_text_encoder()
    assert_same(text_to_comfyui(text.state_dict()), weights)
    assert_same(text_to_transformers(weights, text.state_dict()), dict(text.state_dict()))


@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_it_agrees_with_the_hookpoints_names(family):
    for hookpoint in hookpoints_of(family):
        for rest in ("norm.weight", "transformer_blocks.9.attn2.to_k.weight"):
            there = unet_to_diffusers({f"{hookpoint.module}.{rest}": torch.zeros(1)})
            assert list(there) == [f"{hookpoint.name}.{rest}"]
            assert list(unet_to_comfyui(there)) == [f"{hookpoint.module}.{rest}"]


def test_an_upsampler_follows_the_attention_where_there_is_one():
    plain = {"up_blocks.0.upsamplers.0.conv.weight": torch.zeros(1)}
    assert list(unet_to_comfyui(plain)) == ["output_blocks.2.1.conv.weight"]
    with_attention = {**plain, "up_blocks.0.attentions.2.norm.weight": torch.zeros(1)}
    assert "output_blocks.2.2.conv.weight" in unet_to_comfyui(with_attention)


@pytest.mark.parametrize(
    "convert", [unet_to_diffusers, unet_to_comfyui, autoencoder_to_comfyui], ids=lambda function: function.__name__
)
def test_unknown_names_are_refused(convert):
    with pytest.raises(SaeuronError, match="strange"):
        convert({"strange.weight": torch.zeros(1)})


def test_a_taesd_of_other_latents_is_refused():
    weights = load_weights("autoencoder")
    with pytest.raises(SaeuronError, match=r"0\.18215"):
        autoencoder_to_diffusers({**weights, "vae_scale": torch.tensor(0.18215)})


def test_nnsight_leaves_other_libraries_alone():
    require_nnsight()
    assert not hasattr(object, "save")
    importlib.reload(importlib.import_module("torchsde.settings"))  # sorts attributes of a class when it is imported
