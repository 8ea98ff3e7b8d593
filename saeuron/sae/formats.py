"""Readers of SAE files: ours, and those of others, each of which brings its file into one shape, `SAEWeights`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import SaeuronError
from ..files import check_format, read_safetensors, read_text
from ..json_text import parse_json
from .figures import SAEFigures
from .layouts import DICTIONARY_LEARNING, FORMAT, SAELENS, SDXL_UNBOX, SPARSIFY, Layout, find_files
from .metadata import read_metadata, with_metadata
from .model import JUMPRELU, SparseAutoencoder
from .names import config_in_names
from .published import dictionary_learning, saelens, sdxl_unbox, sparsify
from .weights import Placement, SAEWeights, expect_shape, take

__all__ = ["VERSION", "WRITERS", "Placement", "SAEWeights", "expect_shape", "read_weights"]

VERSION = "2.0"
"""A TopK SAE is written as 1.0, which older packs read, and which is what it is."""

MAX_CONFIG_BYTES = 1 << 20

_READERS: dict[Layout, Callable[[Mapping[str, Any], Path], SAEWeights]] = {
    SDXL_UNBOX: sdxl_unbox.read,
    SPARSIFY: sparsify.read,
    SAELENS: saelens.read,
    DICTIONARY_LEARNING: dictionary_learning.read,
}


class Writer(Protocol):
    def __call__(
        self, folder: Path, sae: SparseAutoencoder, placement: Placement, figures: SAEFigures | None = None
    ) -> None: ...


WRITERS: dict[str, Writer] = {
    "sdxl-unbox": sdxl_unbox.write,
    "sparsify": sparsify.write,
    "saelens": saelens.write,
}
"""Name of a layout -> what writes an SAE into a folder in it, so that the same SAE is read there again.

Errors: `SaeuronError` if the layout can't say what the SAE computes.
"""


def read_weights(path: Path) -> SAEWeights:
    files = find_files(path)
    if files.layout is None:
        return _read_own(files.weights)
    if files.config is None:
        config = config_in_names(files.weights.parent)
        remark = (
            f"{files.layout.config} is not beside {files.weights.name}: k {config['k']} is what its folder's name says."
        )
        return replace(_READERS[files.layout](config, files.weights), remark=remark)
    said = _read_config(files.config)
    return with_metadata(_READERS[files.layout](said, files.weights), said)


def _read_own(path: Path) -> SAEWeights:
    tensors, metadata = read_safetensors(path)
    check_format(metadata.get("format"), metadata.get("version"), FORMAT, VERSION, path.name)
    said = read_metadata(metadata, path)
    encoder = take(tensors, "encoder.weight", path)
    threshold = None
    if said.activation == JUMPRELU:
        threshold = take(tensors, "threshold", path)
        expect_shape(threshold, tuple(encoder.shape[:1]), "threshold", path)
    return SAEWeights(
        encoder,
        take(tensors, "encoder.bias", path),
        take(tensors, "decoder.weight", path),
        take(tensors, "decoder_bias", path),
        said.k,
        said.placement,
        path,
        said.activation,
        threshold,
        said.choices if said.k < len(encoder) else (),
        figures=said.figures,
    )


def _read_config(file: Path) -> Mapping[str, Any]:
    config = parse_json(read_text(file, MAX_CONFIG_BYTES), file.name)
    if not isinstance(config, dict):
        raise SaeuronError(f"{file.name} must hold a JSON object.")
    return config
