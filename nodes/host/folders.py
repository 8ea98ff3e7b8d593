"""Where SAEs, feature sets and classifiers lie: the host's model folders, and what the pack ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ...saeuron.errors import SaeuronError
from ...saeuron.evaluation.unlearncanvas import SUFFIXES
from ...saeuron.files import resolve_inside

SAES = "saes"
FEATURE_SETS = "feature_sets"
CLASSIFIERS = "classifiers"

_PACK = Path(__file__).resolve().parents[2]
_MINIATURE = _PACK / "saeuron" / "miniature"
_SHIPPED = {SAES: _MINIATURE / "saes", FEATURE_SETS: _PACK / "feature_sets"}
_SHIPPED_CLASSIFIERS = {f"miniature-{name}": _MINIATURE / "classifiers" / name for name in ("objects", "styles")}
_EXTENSIONS = {SAES: {".safetensors", ".pth"}, FEATURE_SETS: {".json"}, CLASSIFIERS: {".safetensors", *SUFFIXES}}

# The weights file of a published layout stands for its folder.
_SAE_MARKERS = ("state_dict.pth", "sae.safetensors")
_CLASSIFIER_MARKER = "model.safetensors"


def register_folders() -> None:
    """Add our folders to those that ``extra_model_paths.yaml`` or other packs have set already."""
    for kind, extensions in _EXTENSIONS.items():
        paths, known = folder_paths.folder_names_and_paths.get(kind, ([], set()))
        own = [str(Path(folder_paths.models_dir) / kind)]
        if kind in _SHIPPED:
            own.append(str(_SHIPPED[kind]))
        merged = [*paths, *(path for path in own if path not in paths)]
        folder_paths.folder_names_and_paths[kind] = (merged, set(known) | extensions)


def list_saes() -> list[str]:
    names = []
    for name in folder_paths.get_filename_list(SAES):
        path = Path(name)
        if path.name in _SAE_MARKERS:
            names.append(path.parent.as_posix())
        elif path.suffix == ".safetensors":
            names.append(path.as_posix())
    return sorted(set(names))


def list_feature_sets() -> list[str]:
    return sorted(Path(name).as_posix() for name in folder_paths.get_filename_list(FEATURE_SETS))


def list_classifiers() -> list[str]:
    names = list(_SHIPPED_CLASSIFIERS)
    for name in folder_paths.get_filename_list(CLASSIFIERS):
        path = Path(name)
        if path.name == _CLASSIFIER_MARKER and path.parent.name:
            names.append(path.parent.as_posix())
        elif path.suffix in SUFFIXES:
            names.append(path.as_posix())
    return sorted(set(names))


def find_sae(name: str) -> Path:
    """A file, or a folder in one of the published layouts. Errors: `SaeuronError` if there is none of that name."""
    for path in _candidates(SAES, name):
        if path.exists():
            return path
    raise SaeuronError(_missing("SAE", name, SAES, list_saes()))


def find_feature_set(name: str) -> Path:
    """Errors: `SaeuronError` if there is none of that name."""
    for path in _candidates(FEATURE_SETS, name):
        if path.is_file():
            return path
    raise SaeuronError(_missing("feature set", name, FEATURE_SETS, list_feature_sets()))


def find_classifier(name: str) -> Path:
    """A transformers folder or a checkpoint. Errors: `SaeuronError` if there is none of that name."""
    if name in _SHIPPED_CLASSIFIERS:
        return _SHIPPED_CLASSIFIERS[name]
    for path in _candidates(CLASSIFIERS, name):
        if path.exists():
            return path
    raise SaeuronError(_missing("classifier", name, CLASSIFIERS, list_classifiers()))


def _candidates(kind: str, name: str) -> Iterator[Path]:
    for folder in folder_paths.get_folder_paths(kind):
        yield resolve_inside(Path(folder), name)


def own_feature_set(name: str) -> Path:
    """The path to save a user's feature set to; outside the pack, which an update replaces."""
    name = name.strip().removesuffix(".json")
    if not name:
        raise SaeuronError("The feature set needs a name to be saved under.")
    return resolve_inside(Path(folder_paths.models_dir) / FEATURE_SETS, f"{name}.json")


def fingerprint(path: Path) -> tuple[str, int, int]:
    """Changes when the file does; for a folder, when its weights do."""
    markers = (*_SAE_MARKERS, _CLASSIFIER_MARKER)
    files = [path / marker for marker in markers if (path / marker).is_file()] if path.is_dir() else [path]
    status = files[0].stat() if files else path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def _missing(what: str, name: str, kind: str, there: list[str]) -> str:
    known = ", ".join(there[:12]) or "none yet"
    return f"There is no {what} named {name!r}. Put it into models/{kind}, or choose one of: {known}."
