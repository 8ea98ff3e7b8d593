"""Readers of SAE files: ours, sdxl-unbox's (Surkov et al., arXiv 2410.22366), SAeUron's (arXiv 2501.18052).

Each brings its file into one shape, `SAEWeights`. What a pre-encoder bias does is folded into the encoder's bias.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any

from torch import Tensor

from ..errors import SaeuronError
from ..files import check_format, read_pickle, read_safetensors, read_text
from ..json_text import parse_json
from .hookpoints import HOOKPOINT
from .layouts import FORMAT, SDXL_UNBOX, SPARSIFY, Layout, find_files

VERSION = "1.0"
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class Placement:
    """Where an SAE belongs. Empty fields mean "as the file says"."""

    base_model: str = ""
    hookpoint: str = ""
    kind: str = ""


@dataclass(frozen=True)
class SAEWeights:
    """The one shape every format is brought into: float tensors [n, d], [n], [n, d], [d]."""

    encoder_weight: Tensor
    encoder_bias: Tensor
    decoder_weight: Tensor
    decoder_bias: Tensor
    k: int
    placement: Placement
    file: Path


def read_weights(path: Path) -> SAEWeights:
    files = find_files(path)
    if files.layout is None or files.config is None:
        return _read_own(files.weights)
    config = _read_config(files.config)
    return _READERS[files.layout](config, files.weights)


def _read_own(path: Path) -> SAEWeights:
    tensors, metadata = read_safetensors(path)
    check_format(metadata.get("format"), metadata.get("version"), FORMAT, VERSION, path.name)
    placement = Placement(metadata.get("base_model", ""), metadata.get("hookpoint", ""), metadata.get("kind", ""))
    return SAEWeights(
        _take(tensors, "encoder.weight", path),
        _take(tensors, "encoder.bias", path),
        _take(tensors, "decoder.weight", path),
        _take(tensors, "decoder_bias", path),
        _positive(metadata.get("k"), "k", path),
        placement,
        path,
    )


def _read_sdxl_unbox(config: Mapping[str, Any], file: Path) -> SAEWeights:
    """``z = W_e (x - pre_bias) + latent_bias``; decode adds pre_bias back. mean.pt and std.pt are not used."""
    _refuse_unknown(config, _UNBOX_OPTIONS, file)
    _refuse_text_encoder(config, file)
    state = read_pickle(file)
    tensors = state.get("state_dict", state)
    if not isinstance(tensors, Mapping):
        raise SaeuronError(f"{file.name} holds no state_dict.")
    encoder, pre_bias = _take(tensors, "encoder.weight", file), _take(tensors, "pre_bias", file)
    latent_bias, decoder = _take(tensors, "latent_bias", file), _take(tensors, "decoder.weight", file)
    expect_shape(
        encoder,
        (
            _positive(config.get("n_dirs_local"), "n_dirs_local", file),
            _positive(config.get("d_model"), "d_model", file),
        ),
        "encoder.weight",
        file,
    )
    expect_shape(pre_bias, (encoder.shape[1],), "pre_bias", file)
    folded = latent_bias.double() - encoder.double() @ pre_bias.double()
    return SAEWeights(
        encoder,
        folded.float(),
        decoder.T.contiguous(),
        pre_bias,
        _positive(config.get("k"), "k", file),
        Placement("sdxl-turbo", _hookpoint_in(file.parent), "update"),
        file,
    )


def _read_sparsify(config: Mapping[str, Any], file: Path) -> SAEWeights:
    """``z = W_e (x - b_dec) + b_e``; decode adds b_dec back.

    ``batch_topk`` and ``sample_topk`` say how k was counted in training. SAeUron's own loader switches both off, so
    its published SAEs are plain TopK per token.
    """
    _refuse_unknown(config, _SPARSIFY_OPTIONS, file)
    tensors, _ = read_safetensors(file)
    encoder, decoder_bias = _take(tensors, "encoder.weight", file), _take(tensors, "b_dec", file)
    d = _positive(config.get("d_in", encoder.shape[1]), "d_in", file)
    n = config.get("num_latents") or d * _positive(config.get("expansion_factor"), "expansion_factor", file)
    expect_shape(encoder, (_positive(n, "num_latents", file), d), "encoder.weight", file)
    expect_shape(decoder_bias, (d,), "b_dec", file)
    folded = _take(tensors, "encoder.bias", file).double() - encoder.double() @ decoder_bias.double()
    return SAEWeights(
        encoder,
        folded.float(),
        _take(tensors, "W_dec", file),
        decoder_bias,
        _positive(config.get("k"), "k", file),
        Placement(hookpoint=_hookpoint_in(file.parent)),
        file,
    )


_READERS: dict[Layout, Callable[[Mapping[str, Any], Path], SAEWeights]] = {
    SDXL_UNBOX: _read_sdxl_unbox,
    SPARSIFY: _read_sparsify,
}

# Options of the published trainers that leave what a code means as it is, whatever their value.
_UNBOX_OPTIONS = {"n_dirs_local", "d_model", "k", "auxk", "auxk_coef", "dead_steps_threshold"}
_SPARSIFY_OPTIONS = {
    "d_in",
    "num_latents",
    "expansion_factor",
    "k",
    "batch_topk",
    "sample_topk",
    "multi_topk",
    "normalize_decoder",
    "hookpoint",
}


def _refuse_unknown(config: Mapping[str, Any], harmless: Collection[str], file: Path) -> None:
    """What is not known to be harmless and is switched on may change the meaning of codes: signed, transcode, ..."""
    for option, value in config.items():
        if option in harmless or not value or (option, value) == ("activation", "topk"):
            continue
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} uses {option} = {brief(value)}, which may change what its codes mean "
            "and is not supported. Choose a plain TopK SAE."
        )


def _refuse_text_encoder(config: Mapping[str, Any], file: Path) -> None:
    """SAEs of text encoders are published in the same layout, as those of ItD and Concept Steerers."""
    d = config.get("d_model")
    if _TEXT_ENCODER.search(_names_of(file.parent)) or d in _TEXT_WIDTHS:
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} (d {brief(d)}) is one of a text encoder. This pack edits blocks of the "
            "UNet; choose an SAE that was trained on one."
        )


_TEXT_ENCODER = re.compile(r"text_(model|encoder)|encoder\.layers")
_TEXT_WIDTHS = (768, 1024, 2048, 4096)  # CLIP of SD 1 and 2, both of SDXL, T5; no block of a UNet is as wide


def _hookpoint_in(folder: Path) -> str:
    """Published folders carry the hookpoint in their name or a parent's; empty where they don't."""
    match = HOOKPOINT.search(_names_of(folder))
    return match.group() if match else ""


def _names_of(folder: Path) -> str:
    """The names of `folder` and two parents, innermost first; then, if it is a link, those of where it leads to."""
    paths = (folder, folder.resolve())
    return "/".join(part.name for path in paths for part in (path, *path.parents[:2]))


def _read_config(file: Path) -> Mapping[str, Any]:
    config = parse_json(read_text(file, MAX_CONFIG_BYTES), file.name)
    if not isinstance(config, dict):
        raise SaeuronError(f"{file.name} must hold a JSON object.")
    return config


def _take(tensors: Mapping[str, Any], name: str, file: Path) -> Tensor:
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


def _positive(value: Any, name: str, file: Path) -> int:
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
