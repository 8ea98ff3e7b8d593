"""A small CLIP in the host's class is the one that transformers knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tools.pack import pack as import_from_pack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout that the miniature's CLIP has."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPVisionConfig(**shape, image_size=96, patch_size=24, projection_dim=20)
    with torch.inference_mode(False):
        model = CLIPVisionModelWithProjection(config).half()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    path = tmp_path_factory.mktemp("clip")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.rand(3, 192, 96, 3, generator=torch.Generator().manual_seed(0))


def load(folder: Path):
    return import_from_pack("nodes.host.clip_vision").load_clip_vision(folder)


def test_embeddings_are_transformers_own(pack, folder, pictures):
    import comfy.clip_vision
    from transformers import CLIPVisionModelWithProjection

    clip = load(folder)
    assert isinstance(clip, comfy.clip_vision.ClipVisionModel)
    embedded = clip.encode_image(pictures)["image_embeds"]
    reference = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = comfy.clip_vision.clip_preprocess(pictures, size=96)
    assert pixels.shape == (3, 3, 96, 96)
    expected = reference(pixel_values=pixels).image_embeds
    assert embedded.shape == (3, 20)
    assert torch.allclose(embedded, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_the_hosts_own_node_takes_it(pack, folder, pictures):
    import nodes

    (output,) = nodes.CLIPVisionEncode().encode(load(folder), pictures, "center")
    assert output["image_embeds"].shape == (3, 20)


def test_pictures_are_embedded_in_parts(pack, folder):
    embed = import_from_pack("nodes.host.pictures").embed
    clip, many = load(folder), torch.rand(40, 96, 96, 3, generator=torch.Generator().manual_seed(1))
    found = embed(clip, many)
    assert found.shape == (40, 20) and found.dtype == np.float32
    assert found == pytest.approx(clip.encode_image(many)["image_embeds"].numpy(), abs=1e-4)
    assert len(embed(clip, many[:0])) == 0


def test_what_is_no_clip(pack, folder, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        load(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"model\.safetensors can't be read: No such file"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a readable"):
        load(tmp_path)
    save_file({k: v for k, v in weights.items() if k != "visual_projection.weight"}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing \['visual_projection.weight'\]"):
        load(tmp_path)
    save_file({**weights, "visual_projection.weight": torch.zeros(3, 48)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="does not fit the host's"):
        load(tmp_path)


def test_an_encoder_without_one_embedding_a_picture_is_refused(pack, pictures):
    class Tokens:
        def encode_image(self, images):
            return {"image_embeds": torch.zeros(len(images), 49, 20)}

    embed = import_from_pack("nodes.host.pictures").embed
    with pytest.raises(ValueError, match="Choose a CLIP"):
        embed(Tokens(), pictures)
    with pytest.raises(ValueError, match="holds nothing"):
        embed(None, pictures)
