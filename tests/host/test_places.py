"""Where an SAE reads in UNets with other numbers of blocks than SDXL's and SD 1.5's, and which it may be used on."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from tools.bench.full_size import SDXL_UNET
from tools.pack import pack as import_from_pack

SD15_UNET = {
    **SDXL_UNET,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "adm_in_channels": None,
    "num_classes": None,
    "use_linear_in_transformer": False,
}
ONE_BLOCK = {"num_res_blocks": [1, 1, 1], "channel_mult": [1, 2, 4]}
FOUR_LEVELS = {
    "num_res_blocks": [1, 1, 1, 1],
    "transformer_depth": [1, 1, 1, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 0, 0],
}


def depths(down: list[int], up: list[int], middle: int) -> dict:
    return {"transformer_depth": down, "transformer_depth_output": up, "transformer_depth_middle": middle}


# As the host's model_detection.py lists them; BK-SDM's as its authors publish them.
UNETS = {
    "SDXL": SDXL_UNET,
    "SD15": SD15_UNET,
    "SSD1B": {**SDXL_UNET, **depths([0, 0, 2, 2, 4, 4], [0, 0, 0, 1, 1, 2, 10, 4, 4], -1)},
    "Segmind_Vega": {**SDXL_UNET, **depths([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2], -1)},
    "KOALA_700M": {**SDXL_UNET, **ONE_BLOCK, **depths([0, 2, 5], [0, 0, 2, 2, 5, 5], -2)},
    "KOALA_1B": {**SDXL_UNET, **ONE_BLOCK, **depths([0, 2, 6], [0, 0, 2, 2, 6, 6], 6)},
    "SD_XS": {**SD15_UNET, **ONE_BLOCK, **depths([0, 1, 1], [0, 0, 1, 1, 1, 1], -2)},
    "BK-SDM base": {**SD15_UNET, **FOUR_LEVELS},
    "BK-SDM small": {**SD15_UNET, **FOUR_LEVELS, "transformer_depth_middle": -1},
    "uneven": {**SDXL_UNET, "num_res_blocks": [1, 3, 2], **depths([0, 1, 0, 2, 3, 3], [0, 0, 1, 1, 0, 1, 3, 3, 3], 3)},
}
LIKE_THE_ORIGINAL = ("SDXL", "SD15")


class Model:
    """As much of the host's MODEL as is asked for a place; its weights take no memory."""

    def __init__(self, name: str) -> None:
        import comfy.model_base
        import comfy.supported_models

        config = UNETS[name]
        sdxl = config["context_dim"] == SDXL_UNET["context_dim"]
        supported = (comfy.supported_models.SDXL if sdxl else comfy.supported_models.SD15)(dict(config))
        kind = comfy.model_base.SDXL if sdxl else comfy.model_base.BaseModel
        self.model = kind(supported, device=torch.device("meta"))

    def get_model_object(self, name: str) -> torch.nn.Module:
        return getattr(self.model, name)


def as_the_host_maps(unet: torch.nn.Module, config: dict) -> dict[str, str]:
    """diffusers' name -> module, from the map by which the host reads LoRAs; of the blocks that are there."""
    import comfy.utils

    there = dict(unet.named_modules())
    found = {}
    for theirs, ours in comfy.utils.unet_to_diffusers(config).items():
        match = re.fullmatch(r"(\w+\.(?:\d+\.)?attentions\.\d+)\.norm\.weight", theirs)
        if match and (module := ours.removesuffix(".norm.weight")) in there:
            found[match.group(1)] = module
    return found


def places(name: str) -> tuple[Model, dict[str, str]]:
    model = Model(name)
    unet = import_from_pack("nodes.host.unet")
    return model, unet.hookpoints_in(model.get_model_object("diffusion_model"))


def identity(sae, base_model: str, hookpoint: str, d: int):
    return replace(sae.identity, base_model=base_model, hookpoint=hookpoint, d=d)


@pytest.mark.parametrize("name", sorted(set(UNETS) - {"uneven"}))  # which the host's own map gets wrong
def test_each_block_has_the_name_that_the_host_gives_it(pack, sae, name):
    model, found = places(name)
    unet = model.get_model_object("diffusion_model")
    assert found == as_the_host_maps(unet, UNETS[name])
    assert len(found) == sum(type(module).__name__ == "SpatialTransformer" for module in unet.modules())


def test_levels_may_differ_in_their_number_of_blocks(pack):
    assert places("uneven")[1] == {
        "down_blocks.1.attentions.0": "input_blocks.3.1",
        "down_blocks.1.attentions.2": "input_blocks.5.1",
        "down_blocks.2.attentions.0": "input_blocks.7.1",
        "down_blocks.2.attentions.1": "input_blocks.8.1",
        "mid_block.attentions.0": "middle_block.1",
        "up_blocks.0.attentions.0": "output_blocks.0.1",
        "up_blocks.0.attentions.1": "output_blocks.1.1",
        "up_blocks.0.attentions.2": "output_blocks.2.1",
        "up_blocks.1.attentions.0": "output_blocks.3.1",
        "up_blocks.1.attentions.2": "output_blocks.5.1",
        "up_blocks.1.attentions.3": "output_blocks.6.1",
    }


@pytest.mark.parametrize("name", UNETS)
def test_an_sae_reads_there_or_is_refused_by_name(pack, sae, name):
    """At every hookpoint that the original has, on every UNet made of it."""
    unet, hookpoints = import_from_pack("nodes.host.unet"), import_from_pack("saeuron.sae.hookpoints")
    model, found = places(name)
    base = "sd15" if UNETS[name]["context_dim"] == 768 else "sdxl-turbo"
    for hookpoint in hookpoints.hookpoints_of({"sd15": "sd15", "sdxl-turbo": "sdxl"}[base]):
        wanted = identity(sae, base, hookpoint.name, hookpoint.width())
        if hookpoint.name not in found:
            with pytest.raises(ValueError, match=f"no block {re.escape(hookpoint.name)}.*not {base}"):
                unet.find_site(model, wanted)
            continue
        module = found[hookpoint.name]
        if model.get_model_object("diffusion_model").get_submodule(module).in_channels != hookpoint.width():
            with pytest.raises(ValueError, match="wide"):
                unet.find_site(model, wanted)
            continue
        assert unet.find_site(model, wanted).module == module
        note = unet.fit_note(model, wanted)
        assert f"trained on {base}" in note
        assert ("has other blocks" in note) == (name not in LIKE_THE_ORIGINAL)


@pytest.mark.parametrize(("name", "base"), [("SDXL", "sd15"), ("SD15", "sdxl-turbo"), ("SSD1B", "saeuron-miniature")])
def test_an_sae_of_another_family_is_an_error(pack, sae, name, base):
    wanted = identity(sae, base, "up_blocks.1.attentions.1", 1280)
    with pytest.raises(ValueError, match=f"belongs to {base}"):
        import_from_pack("nodes.host.unet").find_site(Model(name), wanted)


def test_no_note_where_nothing_else_is_alike(miniature, sae):
    assert import_from_pack("nodes.host.unet").fit_note(miniature[0], sae.identity) == ""


def test_blocks_compiled_one_by_one_are_found(pack):
    unet = Model("KOALA_1B").get_model_object("diffusion_model")
    find, layers_of = (
        import_from_pack("nodes.host.unet").hookpoints_in,
        import_from_pack("nodes.host.layers").layers_of,
    )
    before, layers = find(unet), layers_of(unet)
    assert list(layers.values()) == [module for path, module in unet.named_modules() if path.endswith(".attn2")]
    unet.output_blocks[1] = torch.compile(unet.output_blocks[1], backend="eager")
    unet.input_blocks[5][1] = torch.compile(unet.input_blocks[5][1], backend="eager")
    transformers = unet.input_blocks[3][1].transformer_blocks
    transformers[0] = torch.compile(transformers[0], backend="eager")
    assert find(unet) == before
    assert layers_of(unet) == layers
