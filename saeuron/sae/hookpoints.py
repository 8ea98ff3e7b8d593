"""Hookpoints: the transformer blocks of a UNet that SAEs read, under diffusers' names and under ComfyUI's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import SaeuronError

MODEL_CHANNELS = 320
"""The width of the outermost blocks of SDXL and SD 1.5."""

SDXL_UNBOX = (
    "down_blocks.2.attentions.1",
    "mid_block.attentions.0",
    "up_blocks.0.attentions.0",
    "up_blocks.0.attentions.1",
)
"""Where the SDXL-Turbo SAEs of Surkov et al. (arXiv 2410.22366) read updates."""

SAEURON = ("up_blocks.1.attentions.1", "up_blocks.1.attentions.2")
"""Where the SD 1.5 SAEs of SAeUron (arXiv 2501.18052) read outputs: objects, styles."""


@dataclass(frozen=True)
class Hookpoint:
    """One transformer block."""

    name: str
    """As diffusers calls it, ``up_blocks.0.attentions.1``."""

    family: str
    """A key of `FAMILIES`."""

    module: str
    """Its path in ComfyUI's ``UNetModel``, ``output_blocks.1.1``."""

    width_factor: int
    """Its width in units of ``model_channels``, in the published UNets of the family (the miniature widens less)."""

    def width(self, model_channels: int = MODEL_CHANNELS) -> int:
        """Channels of the block's output, d of an SAE that reads it."""
        return self.width_factor * model_channels


def _family(family: str, down: Mapping[int, int], mid: int, up: Mapping[int, int]) -> tuple[Hookpoint, ...]:
    """`down` and `up` map the numbers of the blocks that have attention to their width factors.

    Each block has two resnets on the way down and three on the way up. ``input_blocks`` begins with the input
    convolution and counts a downsampler after each block; an upsampler shares the last resnet's number.
    """
    return (
        *(
            Hookpoint(f"down_blocks.{i}.attentions.{j}", family, f"input_blocks.{1 + 3 * i + j}.1", factor)
            for i, factor in down.items()
            for j in range(2)
        ),
        Hookpoint("mid_block.attentions.0", family, "middle_block.1", mid),
        *(
            Hookpoint(f"up_blocks.{i}.attentions.{j}", family, f"output_blocks.{3 * i + j}.1", factor)
            for i, factor in up.items()
            for j in range(3)
        ),
    )


FAMILIES: dict[str, tuple[Hookpoint, ...]] = {
    "sdxl": _family("sdxl", down={1: 2, 2: 4}, mid=4, up={0: 4, 1: 2}),
    "sd15": _family("sd15", down={0: 1, 1: 2, 2: 4}, mid=4, up={1: 4, 2: 2, 3: 1}),
}

HOOKPOINT = re.compile(
    r"(?:(?:down|up)_blocks\.[0-9]\.attentions\.[0-9]|mid_block\.attentions\.0)(?!\.transformer_blocks)"
)
"""A hookpoint's name in diffusers; not that of a layer in it."""

_BLOCK = re.compile(r"(down|up)(?:_blocks\.([0-9])\.attentions|\.([0-9]))\.([0-9])")
_MID = re.compile(r"mid(_block)?(\.attentions)?(\.0)?")


def canonical_name(name: str) -> str:
    """diffusers' name for the block that `name` means.

    Read are ``up_blocks.0.attentions.1``, with or without ``unet.`` before it, ``up.0.1``, ``mid`` and ``mid.0``. The
    block need not exist in any family. Errors: `SaeuronError` for other forms.
    """
    short = name.strip().removeprefix("unet.")
    if match := _BLOCK.fullmatch(short):
        side, long_block, short_block, attention = match.groups()
        return f"{side}_blocks.{long_block or short_block}.attentions.{attention}"
    if _MID.fullmatch(short):
        return "mid_block.attentions.0"
    raise SaeuronError(f"{name!r} is not a hookpoint's name; write it like up_blocks.0.attentions.1, up.0.1 or mid.")


_MODULES = {hookpoint.module: hookpoint.name for family in FAMILIES.values() for hookpoint in family}


def denoted_by(place: str) -> str:
    """The hookpoint that a config means by `place`: a block under diffusers' name or under ComfyUI's (`Hookpoint`).

    Empty for anything else, such as a layer within such a block, which computes something else than the block does.
    """
    short = place.strip().removeprefix("model.").removeprefix("diffusion_model.")
    try:
        return _MODULES[short] if short in _MODULES else canonical_name(short)
    except SaeuronError:
        return ""


def hookpoints_of(family: str) -> tuple[Hookpoint, ...]:
    """All hookpoints of ``sdxl`` or ``sd15``, in the order in which the UNet runs them."""
    if family not in FAMILIES:
        raise SaeuronError(f"Unknown UNet family {family!r}; known are {', '.join(FAMILIES)}.")
    return FAMILIES[family]


def find_hookpoint(name: str, family: str) -> Hookpoint:
    """The hookpoint `name`, in any form that `canonical_name` reads. Errors: `SaeuronError` listing the valid names."""
    valid = {hookpoint.name: hookpoint for hookpoint in hookpoints_of(family)}
    try:
        return valid[canonical_name(name)]
    except (KeyError, SaeuronError):
        raise SaeuronError(f"There is no hookpoint {name!r} in {family}; choose one of {', '.join(valid)}.") from None
