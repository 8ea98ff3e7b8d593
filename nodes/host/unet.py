"""What kind of UNet a MODEL holds, and where in it an SAE reads."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from ...saeuron.errors import SaeuronError
from ...saeuron.sae.base_models import check_fits, check_width
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
    import comfy.model_base
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = uncompiled(model.get_model_object("diffusion_model"))
    if not isinstance(unet, UNetModel):
        raise SaeuronError(
            f"This MODEL is a {type(unet).__name__}, not a Stable Diffusion UNet. SAEs exist for SDXL-Turbo, SDXL and "
            "SD 1.5; connect one of those."
        )
    config = model.model.model_config.unet_config
    if isinstance(model.model, comfy.model_base.SDXL):
        family = "sdxl"
    elif config.get("context_dim") == SD15_CONTEXT and config.get("adm_in_channels") is None:
        family = "sd15"
    else:
        raise SaeuronError(
            f"This MODEL ({type(model.model).__name__}, context {config.get('context_dim')}) is neither SDXL nor "
            "SD 1.5; no SAE fits it."
        )
    hookpoint = check_fits(identity, family, unet.model_channels)
    try:
        block = unet.get_submodule(hookpoint.module)
    except AttributeError as error:
        raise SaeuronError(f"This MODEL has no block {hookpoint.name} ({hookpoint.module}).") from error
    check_width(identity, hookpoint, block.in_channels)
    return Site(hookpoint.module, identity.kind)


def uncompiled(module: nn.Module) -> nn.Module:
    """The module behind ``torch.compile``'s wrapper."""
    return getattr(module, "_orig_mod", module)
