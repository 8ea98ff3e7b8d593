"""The base models that SAEs are trained on, as far as it matters for where an SAE fits."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SaeuronError
from .hookpoints import Hookpoint, find_hookpoint
from .model import SAEIdentity


@dataclass(frozen=True)
class BaseModel:
    """``family`` is the UNet's layout, ``model_channels`` its width: together they tell one model from another."""

    name: str
    family: str
    model_channels: int


BASE_MODELS = {
    model.name: model
    for model in (
        BaseModel("sdxl-turbo", "sdxl", 320),
        BaseModel("sdxl", "sdxl", 320),
        BaseModel("sd15", "sd15", 320),
        BaseModel("saeuron-miniature", "sdxl", 64),
    )
}


def find_base_model(name: str) -> BaseModel:
    if name not in BASE_MODELS:
        raise SaeuronError(f"Unknown base model {name!r}; known are {', '.join(BASE_MODELS)}.")
    return BASE_MODELS[name]


def check_fits(identity: SAEIdentity, family: str, model_channels: int) -> Hookpoint:
    """The hookpoint of `identity` in a UNet of `family` and `model_channels`.

    Width alone does not tell a wrong SAE (SD 1.5 and SDXL are both 1280 wide there), so the base model is compared.
    Errors: `SaeuronError` naming what the SAE needs and what was found.
    """
    base = find_base_model(identity.base_model)
    if (base.family, base.model_channels) != (family, model_channels):
        alike = [m.name for m in BASE_MODELS.values() if (m.family, m.model_channels) == (family, model_channels)]
        found = " or ".join(alike) or f"a {family} UNet with {model_channels} channels"
        raise SaeuronError(
            f"This SAE belongs to {base.name}, but the connected MODEL is {found}. "
            f"Connect a {base.name} MODEL or load an SAE made for {found}."
        )
    return find_hookpoint(identity.hookpoint, family)


def check_width(identity: SAEIdentity, hookpoint: Hookpoint, width: int) -> None:
    """Errors: `SaeuronError` if the block at `hookpoint` is not as wide as the SAE's tokens."""
    if width != identity.d:
        raise SaeuronError(
            f"The SAE reads tokens of width {identity.d}, but {hookpoint.name} of this MODEL is {width} wide. "
            "The SAE was recorded with the wrong hookpoint or base model."
        )
