"""The base models that SAEs are trained on, as far as it matters for where an SAE fits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..errors import SaeuronError
from .hookpoints import find_hookpoint, hookpoints_of
from .model import SAEIdentity


@dataclass(frozen=True)
class BaseModel:
    """``family`` is the UNet's layout, ``model_channels`` its width: together they tell one model from another."""

    name: str
    family: str
    model_channels: int

    size: int
    """Pixels along each side of the pictures it was trained to draw."""

    alike: str
    """Models of the same family and width, which nothing in their weights tells apart; empty if there are no others."""


BASE_MODELS = {
    model.name: model
    for model in (
        BaseModel("sdxl-turbo", "sdxl", 320, 512, "SDXL-Turbo, SDXL or a fine-tune of them"),
        BaseModel("sdxl", "sdxl", 320, 1024, "SDXL, SDXL-Turbo or a fine-tune of them"),
        BaseModel("sd15", "sd15", 320, 512, "SD 1.5, SD 1.4 or a fine-tune of them"),
        BaseModel("saeuron-miniature", "sdxl", 64, 192, ""),
    )
}


_ON_THE_HUB = {
    "sdxl-turbo": "sdxl-turbo",
    "stable-diffusion-xl-base-1.0": "sdxl",
    "stable-diffusion-v1-5": "sd15",
    "stable-diffusion-v1-4": "sd15",
}
"""Repositories of base models, without their owners, some of which have moved."""


def base_model_denoted_by(name: str) -> str:
    """The base model that a config means by `name`: one of `BASE_MODELS` or a repository; empty for anything else."""
    return name if name in BASE_MODELS else _ON_THE_HUB.get(name.rpartition("/")[2].lower(), "")


def find_base_model(name: str) -> BaseModel:
    if name not in BASE_MODELS:
        raise SaeuronError(f"Unknown base model {name!r}; known are {', '.join(BASE_MODELS)}.")
    return BASE_MODELS[name]


def check_fits(identity: SAEIdentity, family: str, model_channels: int, hookpoints: Collection[str]) -> str:
    """The hookpoint of `identity`, one of `hookpoints`: those that a UNet of `family` and `model_channels` has.

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
    name = find_hookpoint(identity.hookpoint, family).name
    if name not in hookpoints:
        raise SaeuronError(
            f"This MODEL has no block {name}, which the SAE belongs to; it is not {base.name}, but a smaller model "
            f"made of it. Its blocks are {', '.join(hookpoints) or 'none'}."
        )
    return name


def note_on_fit(identity: SAEIdentity, hookpoints: Collection[str]) -> str:
    """What to know of an SAE that fits a UNet with `hookpoints` but may have been trained on another; often empty."""
    base = find_base_model(identity.base_model)
    if set(hookpoints) != {hookpoint.name for hookpoint in hookpoints_of(base.family)}:
        return (
            f"Note: this SAE was trained on {base.name}, and this MODEL is not {base.name}: it has other blocks, as "
            "distilled models do. The features may stand for something else, or never fire."
        )
    if base.alike:
        return (
            f"Note: this SAE was trained on {base.name}. This MODEL is {base.alike}; which one, its weights do not "
            f"tell. On another than {base.name} look at what the features do first."
        )
    return ""


def check_width(identity: SAEIdentity, width: int) -> None:
    """Errors: `SaeuronError` if the block that the SAE belongs to is not as wide as its tokens."""
    if width != identity.d:
        raise SaeuronError(
            f"The SAE reads tokens of width {identity.d}, but {identity.hookpoint} of this MODEL is {width} wide. "
            "The SAE was recorded with the wrong hookpoint or base model."
        )
