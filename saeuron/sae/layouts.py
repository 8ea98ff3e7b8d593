"""Which files make up an SAE: one file of ours, or a folder as it is published; and what other files are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from ..errors import SaeuronError
from ..files import broken_link, find_in, read_text
from ..json_text import parse_json
from .names import config_in_names

FORMAT = "saeuron-sae"

_MAX_HEADER = 1 << 20  # bytes; that of a file of ours has some hundreds


class Layout(NamedTuple):
    """A folder with the two files that somebody's code writes."""

    source: str
    config: str
    weights: str


SDXL_UNBOX = Layout("sdxl-unbox", "config.json", "state_dict.pth")
SPARSIFY = Layout("SAeUron, sparsify", "cfg.json", "sae.safetensors")
SAELENS = Layout("SAELens", "cfg.json", "sae_weights.safetensors")
DICTIONARY_LEARNING = Layout("dictionary_learning", "config.json", "ae.pt")
LAYOUTS = (SDXL_UNBOX, SPARSIFY, SAELENS, DICTIONARY_LEARNING)

# Files of SAEs that are not read -> whose they are, and why.
_OTHERS = {
    r"sae_best\.pt": "an SAE trainer for FLUX, whose models have no UNet",
    r"(sae|transcoder)_(img|txt)_\d+\.pt": "DifFRACT, for FLUX: they depend on the time step, and FLUX has no UNet",
    r"(_CHECKPOINT_METADATA|_METADATA|.*\.orbax.*|.*\.msgpack)": "JAX",
}
_RE_N_Y = ("config.json", "model.safetensors")
_RE_N_Y_KEYS = {"features", "pages"}

_READ = (
    "What this pack reads: a .safetensors file of its own, or a folder with "
    + " or ".join(f"{layout.config} + {layout.weights} ({layout.source})" for layout in LAYOUTS)
    + "."
)


class SAEFiles(NamedTuple):
    """The files of an SAE. `layout` is None for a file of ours.

    `config` is None for one, too, and where the folder's name says what it would say (`names.config_in_names`).
    """

    weights: Path
    config: Path | None = None
    layout: Layout | None = None


def find_files(path: Path) -> SAEFiles:
    """The files of the SAE at `path`: a file of ours, a folder in one of `LAYOUTS`, or the weights in such a folder.

    Errors: `SaeuronError` that says what `path` is instead, or what is missing.
    """
    if path.is_dir():
        for layout in LAYOUTS:
            weights, config = find_in(path, layout.weights), find_in(path, layout.config)
            if weights and (config or _says_its_name(layout, path)):
                return SAEFiles(weights, config, layout)
        raise SaeuronError(_describe_folder(path))
    if path.is_file():
        own, expected = is_own(path), layout_of_weights(path.name)
        config = find_in(path.parent, expected.config) if expected else None
        if expected and not own and (config or _says_its_name(expected, path.parent)):
            return SAEFiles(path, config, expected)
        if own or (path.suffix.lower() == ".safetensors" and not expected and not _whose(path)):
            return SAEFiles(path)
        raise SaeuronError(_describe_file(path, expected))
    if link := broken_link(path):
        raise SaeuronError(
            f"{link.name} is a broken link: {str(link.readlink())!r}, which it leads to, is not there. "
            "Put the SAE back, connect its disk, or make the link again."
        )
    raise SaeuronError(f"There is no SAE at {path.name!r}. Put it into models/saes and refresh the list.")


def is_sae(path: Path) -> bool:
    """Whether `path` is what `find_files` finds, with all files there; their content is not looked at further."""
    try:
        files = find_files(path)
    except SaeuronError:
        return False
    if files.layout is None:
        return is_own(files.weights)
    return files.weights.is_file() and (files.config is None or files.config.is_file())


def is_own(file: Path) -> bool:
    """Whether `file` is an SAE in our format. Only its header is read."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if length <= _MAX_HEADER else {}
        return bool(header["__metadata__"]["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def layout_of_weights(name: str) -> Layout | None:
    """The layout in which the weights are called `name`, in upper or lower case."""
    return next((layout for layout in LAYOUTS if layout.weights == name.lower()), None)


def _says_its_name(layout: Layout, folder: Path) -> bool:
    """Whether the weights are enough: ComfyUI's list of missing models brings one file of an SAE."""
    return layout == SDXL_UNBOX and bool(config_in_names(folder))


def source_of(name: str) -> str | None:
    """Whose SAE the file `name` is, if it is one that this pack does not read."""
    return next((source for pattern, source in _OTHERS.items() if re.fullmatch(pattern, name, re.I)), None)


def _whose(file: Path) -> str | None:
    """The same by the config beside it, too."""
    if file.name.lower() == _RE_N_Y[1] and _is_of_re_n_y(file.parent):
        return "RE-N-Y, for FLUX, whose models have no UNet"
    return source_of(file.name)


def _is_of_re_n_y(folder: Path) -> bool:
    """Its files have names that everybody uses."""
    config = find_in(folder, _RE_N_Y[0])
    try:
        found = parse_json(read_text(config, _MAX_HEADER), config.name) if config else None
    except SaeuronError:
        return False
    return isinstance(found, dict) and found.keys() >= _RE_N_Y_KEYS


def _describe_file(file: Path, layout: Layout | None) -> str:
    if source := _whose(file):
        return f"{file.name} is an SAE in the format of {source}, and can't be read. {_READ}"
    if layout:
        return f"{file.name} is half of an SAE: {layout.config} is missing beside it. Download it from the same place."
    return f"{file.name} is not an SAE. {_READ}"


def _describe_folder(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    if sources := [source for name in names if (source := _whose(folder / name))]:
        return f"Folder {folder.name!r} holds an SAE in the format of {sources[0]}, and can't be read. {_READ}"
    for layout in LAYOUTS:
        if find_in(folder, layout.weights):
            return (
                f"Folder {folder.name!r} holds half of an SAE: {layout.weights}, but no {layout.config}. Download it "
                "from the same place."
            )
    return f"Folder {folder.name!r} holds no SAE; found {', '.join(names[:8]) or 'nothing'}. {_READ}"
