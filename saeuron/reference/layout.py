"""Weights under ComfyUI's names and under diffusers', both ways: UNets of SDXL's and SD 1.5's layout, TAESD, CLIP text.

Nothing is reshaped: both sides store the same tensors, so a conversion and its inverse keep every bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..errors import SaeuronError

SDXL_SCALE = 0.13025
"""What SDXL's latents are multiplied with on the way into the UNet. ComfyUI's TAESD undoes it, diffusers' does not."""

RESNETS_DOWN, RESNETS_UP = 2, 3
"""Resnets of a block; the input convolution and each downsampler count as one in ``input_blocks``."""

_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS_BACK = {new: old for old, new in _ENDS.items()}
_RESNET_BACK = {new: old for old, new in _RESNET.items()}

_BLOCK = re.compile(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)")
_BLOCK_BACK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def unet_to_diffusers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ComfyUI's ``UNetModel``, all or some of its blocks, under the names of `UNet2DConditionModel`.

    Errors: `SaeuronError` for a name that no block of this layout has.
    """
    return {_to_diffusers(name): tensor for name, tensor in weights.items()}


def unet_to_comfyui(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `unet_to_diffusers`; whole blocks only, because an upsampler's place depends on its neighbours."""
    with_attention = {int(m[2]) for m in map(_BLOCK_BACK.match, weights) if m and m[1] == "up" and m[3] == "attentions"}
    return {_to_comfyui(name, with_attention): tensor for name, tensor in weights.items()}


def autoencoder_to_diffusers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ComfyUI's TAESD as an `AutoencoderTiny`, which works on the UNet's own latents: ``scaling_factor`` is 1.

    Errors: `SaeuronError` for a TAESD of other latents than SDXL's.
    """
    scale, shift = (weights.get(name, torch.tensor(0.0)).item() for name in ("vae_scale", "vae_shift"))
    if abs(scale - SDXL_SCALE) > 1e-4 or shift:
        raise SaeuronError(f"Expected a TAESD of SDXL's latents, scale {SDXL_SCALE}; found {scale:g}, shift {shift:g}.")
    converted = {}
    for name, tensor in weights.items():
        if match := re.fullmatch(r"taesd_(encoder|decoder)\.(\d+)\.(.+)", name):
            # ComfyUI's decoder begins with a layer that bounds the latents; diffusers does it outside the layers.
            layer = int(match[2]) - (match[1] == "decoder")
            converted[f"{match[1]}.layers.{layer}.{match[3]}"] = tensor
    return converted


def autoencoder_to_comfyui(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `autoencoder_to_diffusers`, with SDXL's scale."""
    converted = {"vae_scale": torch.tensor(SDXL_SCALE), "vae_shift": torch.tensor(0.0)}
    for name, tensor in weights.items():
        match = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(.+)", name)
        if match is None:
            raise _unknown(name, "an AutoencoderTiny")
        converted[f"taesd_{match[1]}.{int(match[2]) + (match[1] == 'decoder')}.{match[3]}"] = tensor
    return converted


def text_to_transformers(weights: Mapping[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """CLIP text weights under the names `expected` by the installed transformers, with or without ``text_model.``."""
    wanted = set(expected)
    shorter = {name: name.removeprefix("text_model.") for name in weights}
    return {name if name in wanted else shorter[name]: tensor for name, tensor in weights.items()}


def text_to_comfyui(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `text_to_transformers`."""
    return {
        name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}": tensor
        for name, tensor in weights.items()
    }


def _to_diffusers(name: str) -> str:
    for old, new in _ENDS.items():
        if name.startswith(f"{old}."):
            return f"{new}.{_renamed(name[len(old) + 1 :], _RESNET)}"
    match = _BLOCK.fullmatch(name)
    if match is None:
        raise _unknown(name, "a UNet of ComfyUI's layout")
    side, number, part, rest = match[1], int(match[2]), int(match[3]), match[4]
    if side == "input":
        block, place = divmod(number - 1, RESNETS_DOWN + 1)
        if place == RESNETS_DOWN:
            return f"down_blocks.{block}.downsamplers.0.conv.{rest.removeprefix('op.')}"
        side = "down"
    else:
        block, place = divmod(number, RESNETS_UP)
        if part and rest.startswith("conv."):
            return f"up_blocks.{block}.upsamplers.0.{rest}"
        side = "up"
    kind = "attentions" if part else "resnets"
    return f"{side}_blocks.{block}.{kind}.{place}.{_renamed(rest, _RESNET)}"


def _to_comfyui(name: str, with_attention: set[int]) -> str:
    for new, old in _ENDS_BACK.items():
        if name.startswith(f"{new}."):
            return f"{old}.{_renamed(name[len(new) + 1 :], _RESNET_BACK)}"
    match = _BLOCK_BACK.fullmatch(name)
    if match is None:
        raise _unknown(name, "a UNet2DConditionModel")
    side, block, kind, place, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks.{(RESNETS_DOWN + 1) * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{RESNETS_UP * block + RESNETS_UP - 1}.{1 + (block in with_attention)}.{rest}"
    number = 1 + (RESNETS_DOWN + 1) * block + place if side == "down" else RESNETS_UP * block + place
    blocks = "input_blocks" if side == "down" else "output_blocks"
    return f"{blocks}.{number}.{int(kind == 'attentions')}.{_renamed(rest, _RESNET_BACK)}"


def _renamed(rest: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if rest.startswith(f"{old}."):
            return f"{new}.{rest[len(old) + 1 :]}"
    return rest


def _unknown(name: str, what: str) -> SaeuronError:
    return SaeuronError(f"{name[:80]!r} is not the name of a weight of {what}.")
