"""What every layout of SAE files is brought into, and what their readers share."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any

from torch import Tensor

from ..errors import SaeuronError
from .figures import SAEFigures
from .hookpoints import HOOKPOINT, denoted_by
from .model import TOPK
from .names import names_of


@dataclass(frozen=True)
class Placement:
    """Where an SAE belongs. Empty fields mean "as the file says"."""

    base_model: str = ""
    hookpoint: str = ""
    kind: str = ""
    activation: str = ""
    """What makes codes, for files that do not record it (`model.ACTIVATIONS`)."""

    assumed: tuple[str, ...] = ()
    """Which of the other fields nobody said: they are what SAEs in such files usually are."""


@dataclass(frozen=True)
class SAEWeights:
    """The one shape every format is brought into: float tensors [n, d], [n], [n, d], [d]."""

    encoder_weight: Tensor
    encoder_bias: Tensor
    decoder_weight: Tensor
    decoder_bias: Tensor
    k: int
    """n where there is none, as ``jumprelu`` needs none."""
    placement: Placement
    file: Path
    activation: str = TOPK
    threshold: Tensor | None = None
    """[n], of an SAE whose activation is ``jumprelu``."""

    choices: tuple[str, ...] = ()
    """Activations that a person may choose instead."""

    place: str = ""
    """What the file calls the place that it belongs to, if it is none of the hookpoints."""

    figures: SAEFigures | None = None
    """What it had on the model that it was trained on, where the file says so."""

    remark: str = ""
    """What a person should know of how the file was read."""


def refuse_unknown(config: Mapping[str, Any], harmless: Collection[str], file: Path) -> None:
    """What is not known to be harmless and is switched on may change the meaning of codes: signed, transcode, ..."""
    for option, value in config.items():
        if option in harmless or not value or (option, value) == ("activation", "topk"):
            continue
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} uses {option} = {brief(value)}, which may change what its codes mean "
            "and is not supported. Choose another SAE."
        )


def place_of(said: str, file: Path) -> tuple[str, str]:
    """The hookpoint that `file`'s config means by `said`, or without that its folders' names; `said`, if it is none."""
    if hookpoint := denoted_by(said):
        return hookpoint, ""
    return ("", said) if said else (hookpoint_in(file.parent), "")


def hookpoint_in(folder: Path) -> str:
    """Published folders carry the hookpoint in their name or a parent's; empty where they don't."""
    match = HOOKPOINT.search(names_of(folder))
    return match.group() if match else ""


def refuse_other_models(d: int, place: str, file: Path) -> None:
    """SAEs of text encoders (ItD, Concept Steerers), language models and FLUX come in the same layouts.

    `place`: where its config says that it belongs. The names of its folders say so, too.
    """
    known = f"{place}/{names_of(file.parent)}"
    if "single_transformer_blocks" in known or (d == _FLUX_WIDTH and not HOOKPOINT.search(known)):
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} (d {d}) is one of FLUX, whose models have no UNet. This pack edits "
            "blocks of the UNet; choose an SAE that was trained on one."
        )
    if _TEXT.search(known) or (d in _TEXT_WIDTHS and not HOOKPOINT.search(known)):
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} (d {d}) is one of a text encoder or a language model. This pack edits "
            "blocks of the UNet; choose an SAE that was trained on one."
        )


_TEXT = re.compile(r"text_(model|encoder)|encoder\.layers|blocks\.\d+\.(hook|attn|mlp|ln)|(model|gpt_neox)\.layers\.")
_TEXT_WIDTHS = (768, 1024, 2048, 4096)  # CLIP of SD 1 and 2, both of SDXL, T5; no block of a UNet is as wide
_FLUX_WIDTH = 3072


def take(tensors: Mapping[str, Any], name: str, file: Path) -> Tensor:
    """The tensor `name` in float32, whatever float type it is stored in."""
    tensor = tensors.get(name)
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        found = ", ".join(sorted(map(str, tensors))[:8]) or "nothing"
        raise SaeuronError(f"{file.name} has no float tensor {name!r}; found {found}.")
    if tensor.dtype.itemsize == 1 and (scales := [str(other) for other in tensors if "scale" in str(other)]):
        raise SaeuronError(
            f"{file.name} is quantized to {_type_name(tensor)} with factors beside it ({scales[0]}), which is not "
            "supported. Get it in float16 or float32."
        )
    try:
        return tensor.float()
    except (NotImplementedError, RuntimeError) as error:
        raise SaeuronError(
            f"{file.name} stores {name} as {_type_name(tensor)}, which this torch can't convert. Get it in float16 or "
            "float32."
        ) from error


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def positive(value: Any, name: str, file: Path) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError) as error:
        raise SaeuronError(f"{file.name}: {name} must be a positive whole number, found {value!r}.") from error
    if number < 1 or number != float(value):
        raise SaeuronError(f"{file.name}: {name} must be a positive whole number, found {value!r}.")
    return number


def expect_shape(tensor: Tensor, shape: tuple[int, ...], name: str, file: Path) -> None:
    if tuple(tensor.shape) != shape or 0 in shape:
        raise SaeuronError(f"{file.name}: {name} has shape {list(tensor.shape)}, expected {list(shape)}.")
