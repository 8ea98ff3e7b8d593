"""Readers of SAE files: ours, and those of others, each of which brings its file into one shape, `SAEWeights`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import SaeuronError
from ..files import check_format, read_safetensors, read_text
from ..json_text import parse_json
from .figures import read_figures
from .layouts import DICTIONARY_LEARNING, FORMAT, SAELENS, SDXL_UNBOX, SPARSIFY, Layout, find_files
from .model import ACTIVATIONS, JUMPRELU, TOPK, SparseAutoencoder
from .published import dictionary_learning, saelens, sdxl_unbox, sparsify
from .weights import Placement, SAEWeights, expect_shape, positive, take

__all__ = ["VERSION", "WRITERS", "Placement", "SAEWeights", "expect_shape", "read_weights"]

VERSION = "2.0"
"""A TopK SAE is written as 1.0, which older packs read, and which is what it is."""

PLACE_FIELDS = ("base_model", "hookpoint", "kind")
"""Of `Placement`, and of our files' metadata."""

MAX_CONFIG_BYTES = 1 << 20

_READERS: dict[Layout, Callable[[Mapping[str, Any], Path], SAEWeights]] = {
    SDXL_UNBOX: sdxl_unbox.read,
    SPARSIFY: sparsify.read,
    SAELENS: saelens.read,
    DICTIONARY_LEARNING: dictionary_learning.read,
}

WRITERS: dict[str, Callable[[Path, SparseAutoencoder, Placement], None]] = {
    "sdxl-unbox": sdxl_unbox.write,
    "sparsify": sparsify.write,
    "saelens": saelens.write,
}
"""Name of a layout -> what writes an SAE into a folder in it, with what the layout can say of where it belongs."""


def read_weights(path: Path) -> SAEWeights:
    files = find_files(path)
    if files.layout is None or files.config is None:
        return _read_own(files.weights)
    config = _read_config(files.config)
    return _READERS[files.layout](config, files.weights)


def _read_own(path: Path) -> SAEWeights:
    tensors, metadata = read_safetensors(path)
    check_format(metadata.get("format"), metadata.get("version"), FORMAT, VERSION, path.name)
    fields = {name: metadata.get(name, "") for name in PLACE_FIELDS}
    assumed = metadata.get("assumed", "").split()
    placement = Placement(**fields, assumed=tuple(name for name in PLACE_FIELDS if name in assumed))
    activation = metadata.get("activation", TOPK)
    if activation not in ACTIVATIONS:
        raise SaeuronError(f"{path.name} has activation {activation!r}; expected one of {', '.join(ACTIVATIONS)}.")
    encoder = take(tensors, "encoder.weight", path)
    threshold = None
    if activation == JUMPRELU:
        threshold = take(tensors, "threshold", path)
        expect_shape(threshold, tuple(encoder.shape[:1]), "threshold", path)
    k = positive(metadata.get("k"), "k", path)
    return SAEWeights(
        encoder,
        take(tensors, "encoder.bias", path),
        take(tensors, "decoder.weight", path),
        take(tensors, "decoder_bias", path),
        k,
        placement,
        path,
        activation,
        threshold,
        (TOPK,) if activation == JUMPRELU and k < len(encoder) else (),
        figures=read_figures(metadata, path.name),
    )


def _read_config(file: Path) -> Mapping[str, Any]:
    config = parse_json(read_text(file, MAX_CONFIG_BYTES), file.name)
    if not isinstance(config, dict):
        raise SaeuronError(f"{file.name} must hold a JSON object.")
    return config
