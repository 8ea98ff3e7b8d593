"""Readers of SAE files: ours, sdxl-unbox's (Surkov et al., arXiv 2410.22366), SAeUron's (arXiv 2501.18052).

Each brings its file into one shape, `SAEWeights`. What a pre-encoder bias does is folded into the encoder's bias.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import SaeuronError
from ..files import check_format, read_pickle, read_safetensors, read_text
from ..json_text import parse_json

FORMAT = "saeuron-sae"
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
    if path.is_file():
        if path.suffix != ".safetensors":
            raise SaeuronError(
                f"{path.name} is not an SAE this reads. Choose a .safetensors file of ours, "
                "or a folder with config.json + state_dict.pth or cfg.json + sae.safetensors."
            )
        return _read_own(path)
    if not path.is_dir():
        raise SaeuronError(f"There is no SAE at {path.name!r}. Put it into models/saes and refresh the list.")
    for marker, reader in _FOLDER_READERS.items():
        if all((path / name).is_file() for name in marker):
            return reader(path)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    raise SaeuronError(
        f"Folder {path.name!r} holds no SAE this reads: expected config.json + state_dict.pth (sdxl-unbox) "
        f"or cfg.json + sae.safetensors (SAeUron, sparsify); found {found}."
    )


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


def _read_sdxl_unbox(folder: Path) -> SAEWeights:
    """``z = W_e (x - pre_bias) + latent_bias``; decode adds pre_bias back. mean.pt and std.pt are not used."""
    config = _read_config(folder / "config.json")
    file = folder / "state_dict.pth"
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
        Placement("sdxl-turbo", _hookpoint_in(folder), "update"),
        file,
    )


def _read_sparsify(folder: Path) -> SAEWeights:
    """``z = W_e (x - b_dec) + b_e``; decode adds b_dec back."""
    config = _read_config(folder / "cfg.json")
    file = folder / "sae.safetensors"
    _refuse_variants(config, folder)
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
        Placement(hookpoint=_hookpoint_in(folder)),
        file,
    )


_FOLDER_READERS: dict[tuple[str, ...], Callable[[Path], SAEWeights]] = {
    ("config.json", "state_dict.pth"): _read_sdxl_unbox,
    ("cfg.json", "sae.safetensors"): _read_sparsify,
}


def _refuse_variants(config: Mapping[str, Any], folder: Path) -> None:
    unsupported = {
        "batch_topk": (False, None),
        "input_unit_norm": (False, None),
        "transcode": (False, None),
        "skip_connection": (False, None),
        "activation": ("topk", None),
    }
    for option, plain in unsupported.items():
        if config.get(option) not in plain:
            raise SaeuronError(
                f"The SAE in {folder.name!r} uses {option} = {config[option]!r}, which changes what its codes "
                "mean and is not supported. Choose a plain TopK SAE."
            )


def _hookpoint_in(folder: Path) -> str:
    """Published folders carry the hookpoint in their name or a parent's; empty where they don't."""
    pattern = re.compile(r"((?:down|up)_blocks\.\d\.attentions\.\d|mid_block\.attentions\.0)")
    for part in (folder, *folder.parents[:2]):
        if match := pattern.search(part.name):
            return match.group(1)
    return ""


def _read_config(file: Path) -> Mapping[str, Any]:
    config = parse_json(read_text(file, MAX_CONFIG_BYTES), file.name)
    if not isinstance(config, dict):
        raise SaeuronError(f"{file.name} must hold a JSON object.")
    return config


def _take(tensors: Mapping[str, Any], name: str, file: Path) -> Tensor:
    tensor = tensors.get(name)
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        found = ", ".join(sorted(map(str, tensors))[:8]) or "nothing"
        raise SaeuronError(f"{file.name} has no float tensor {name!r}; found {found}.")
    return tensor


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
