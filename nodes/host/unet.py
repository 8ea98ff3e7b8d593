"""What kind of UNet a MODEL holds, and where in it an SAE reads."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from torch import nn

from ...saeuron.errors import SaeuronError
from ...saeuron.sae.base_models import BASE_MODELS, check_fits, check_width, note_on_fit
from ...saeuron.sae.model import SAEIdentity

SD15_CONTEXT = 768


class Site(NamedTuple):
    """One transformer block of a UNet: its module path and what is read there, ``update`` or ``output``."""

    module: str
    kind: str


def find_site(model: Any, identity: SAEIdentity) -> Site:
    """Where `identity`'s SAE reads in `model` (the host's MODEL).

    Errors: `SaeuronError` if the model is no Stable Diffusion UNet, or the SAE belongs to another one.
    """
    unet = _unet_of(model)
    modules = hookpoints_in(unet)
    name = check_fits(identity, _family_of(model), unet.model_channels, modules)
    check_width(identity, unet.get_submodule(modules[name]).in_channels)
    if note := note_on_fit(identity, modules):
        logging.getLogger("saeuron").info(note)
    return Site(modules[name], identity.kind)


class Block(NamedTuple):
    """A transformer block that an SAE can be trained on."""

    site: Site
    width: int
    base_model: str
    """A key of `BASE_MODELS`: of several that are alike in layout and width the first."""


def find_block(model: Any, hookpoint: str, kind: str) -> Block:
    """`hookpoint` in `model` (the host's MODEL), as diffusers names it.

    Errors: `SaeuronError` if the model is no Stable Diffusion UNet of a known size, or has no such block.
    """
    unet, family = _unet_of(model), _family_of(model)
    modules = hookpoints_in(unet)
    alike = [m.name for m in BASE_MODELS.values() if (m.family, m.model_channels) == (family, unet.model_channels)]
    if not alike:
        raise SaeuronError(
            f"This MODEL is a {family} UNet with {unet.model_channels} channels, which no base model of this pack has. "
            f"Connect one of {', '.join(BASE_MODELS)}, or a fine-tune of them."
        )
    if hookpoint not in modules:
        raise SaeuronError(f"This MODEL has no block {hookpoint}. Choose one of {', '.join(modules)}.")
    module = modules[hookpoint]
    return Block(Site(module, kind), unet.get_submodule(module).in_channels, alike[0])


def fit_note(model: Any, identity: SAEIdentity) -> str:
    """What a person should know who uses the SAE on `model`, where `find_site` finds its place; often empty."""
    return note_on_fit(identity, hookpoints_in(_unet_of(model)))


def transformer_blocks(model: Any) -> dict[str, str]:
    """diffusers' name -> module path of each transformer block of `model` (the host's MODEL), as they run.

    Errors: `SaeuronError` if the model is no Stable Diffusion UNet.
    """
    return hookpoints_in(_unet_of(model))


def hookpoints_in(unet: Any) -> dict[str, str]:
    """diffusers' name -> module path of each transformer block of a ``UNetModel``, in the order in which they run.

    Counted from the modules themselves, because distilled models have fewer of them at a level, and none in the middle.
    """
    from comfy.ldm.modules.attention import SpatialTransformer
    from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, Upsample

    found: dict[str, str] = {}

    def visit(place: str, name: str) -> list[nn.Module]:
        """The layers of the stage at `place`; its transformer block, if it has one, is `name`."""
        layers = [uncompiled(layer) for layer in uncompiled(unet.get_submodule(place))]
        blocks = [n for n, layer in enumerate(layers) if isinstance(layer, SpatialTransformer)]
        if blocks:
            found[name] = f"{place}.{blocks[0]}"
        return layers

    level = number = 0
    for n in range(1, len(unet.input_blocks)):  # 0 is the input convolution
        layers = visit(f"input_blocks.{n}", f"down_blocks.{level}.attentions.{number}")
        level, number = (level + 1, 0) if isinstance(layers[0], Downsample) else (level, number + 1)
    if unet.middle_block is not None:
        visit("middle_block", "mid_block.attentions.0")
    level = number = 0
    for n in range(len(unet.output_blocks)):
        layers = visit(f"output_blocks.{n}", f"up_blocks.{level}.attentions.{number}")
        level, number = (level + 1, 0) if isinstance(layers[-1], Upsample) else (level, number + 1)
    return found


def uncompiled(module: Any) -> Any:
    """The module behind ``torch.compile``'s wrapper."""
    return getattr(module, "_orig_mod", module)


def _unet_of(model: Any) -> Any:
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = uncompiled(model.get_model_object("diffusion_model"))
    if not isinstance(unet, UNetModel):
        raise SaeuronError(
            f"This MODEL is a {type(unet).__name__}, not a Stable Diffusion UNet. SAEs exist for SDXL-Turbo, SDXL and "
            "SD 1.5; connect one of those."
        )
    return unet


def _family_of(model: Any) -> str:
    import comfy.model_base

    config = model.model.model_config.unet_config
    if isinstance(model.model, comfy.model_base.SDXL):
        return "sdxl"
    if config.get("context_dim") == SD15_CONTEXT and config.get("adm_in_channels") is None:
        return "sd15"
    raise SaeuronError(
        f"This MODEL ({type(model.model).__name__}, context {config.get('context_dim')}) is neither SDXL nor "
        "SD 1.5; no SAE fits it."
    )
