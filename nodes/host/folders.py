"""Where SAEs, feature sets and classifiers lie: the host's model folders, and what the pack ships."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePath

import folder_paths

from ...saeuron.errors import SaeuronError
from ...saeuron.evaluation.unlearncanvas import SUFFIXES
from ...saeuron.files import broken_link, resolve_inside
from ...saeuron.prompts import read_prompts
from ...saeuron.sae.labels import labels_path
from ...saeuron.sae.layouts import find_files, is_sae
from ...saeuron.sae.repositories import where_to_get

SAES = "saes"
FEATURE_SETS = "feature_sets"
CLASSIFIERS = "classifiers"

_PACK = Path(__file__).resolve().parents[2]
_MINIATURE = _PACK / "saeuron" / "miniature"
_SHIPPED = {SAES: _MINIATURE / "saes", FEATURE_SETS: _PACK / "feature_sets"}
_SHIPPED_CLASSIFIERS = {f"miniature-{name}": _MINIATURE / "classifiers" / name for name in ("objects", "styles")}
_EXTENSIONS = {SAES: {".safetensors", ".pth"}, FEATURE_SETS: {".json"}, CLASSIFIERS: {".safetensors", *SUFFIXES}}

# The three files of a transformers folder; the last one stands for the folder.
_CLASSIFIER_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


def register_folders() -> None:
    """Add our folders to those that ``extra_model_paths.yaml`` or other packs have set already.

    The order is the host's for its own folders: what that file calls default, models, what else it names. What comes
    with the pack is last, so that a file of the user's goes before it.
    """
    further = _further_folders()
    for kind, extensions in _EXTENSIONS.items():
        paths, known = folder_paths.folder_names_and_paths.get(kind, ([], set()))
        own, shipped = str(Path(folder_paths.models_dir) / kind), [str(_SHIPPED[kind])] if kind in _SHIPPED else []
        if own not in paths:
            paths = [
                *(path for path in paths if path not in further),
                own,
                *(path for path in paths if path in further),
            ]
        merged = [*(path for path in paths if path not in shipped), *shipped]
        folder_paths.folder_names_and_paths[kind] = (merged, set(known) | extensions)


def _further_folders() -> set[str]:
    """Our folders that ``extra_model_paths.yaml`` names in sections without ``is_default``.

    The host has read that file before this pack, but of folders that it does not know it forgets what was default.
    """
    import yaml
    from comfy.cli_args import args

    beside_the_host = Path(folder_paths.__file__).with_name("extra_model_paths.yaml")
    defaults: set[str] = set()
    others: set[str] = set()
    for file in (beside_the_host, *map(Path, chain(*(args.extra_model_paths_config or ())))):
        sections = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
        for section in filter(None, (sections or {}).values()):
            base = Path(os.path.expandvars(section.get("base_path", ""))).expanduser()
            lines = [line for kind in _EXTENSIONS for line in section.get(kind, "").split("\n") if line]
            named = defaults if section.get("is_default") else others
            named |= {os.path.normpath(file.absolute().parent / base / line) for line in lines}
    return others - defaults


def list_saes() -> list[str]:
    """What `find_sae` finds and can be loaded, a published folder by its weights.

    The host's front end tells of a missing model only where a widget's value is the name of a file. Workflows of
    earlier versions name the folder, which `find_sae` takes as well.
    """
    return sorted(name.as_posix() for name, path in _files(SAES) if is_sae(path))


def list_feature_sets() -> list[str]:
    return sorted(name.as_posix() for name, _ in _files(FEATURE_SETS))


def feature_set_files() -> dict[str, Path]:
    """What `list_feature_sets` names and where it lies, the user's before what comes with the pack."""
    files = ((name.as_posix(), path) for name, path in _files(FEATURE_SETS))
    return dict(sorted(files, key=lambda file: (is_shipped(file[1]), file[0])))


def is_shipped(feature_set: Path) -> bool:
    """Whether the file comes with the pack."""
    return feature_set.is_relative_to(_SHIPPED[FEATURE_SETS])


def list_classifiers() -> list[str]:
    names = set(_SHIPPED_CLASSIFIERS)
    for name, path in _files(CLASSIFIERS):
        if _is_classifier(path.parent) and name.name == _CLASSIFIER_FILES[-1]:
            names.add((name.parent if name.parent.name else name).as_posix())
        elif path.suffix.lower() in SUFFIXES:
            names.add(name.as_posix())
    return sorted(names)


def find_sae(name: str) -> Path:
    """A file, or a folder in one of the published layouts. Errors: `SaeuronError` if there is none of that name."""
    there = [path for path in _candidates(SAES, name) if path.exists()]
    if not there:
        where = where_to_get(name, str(Path(folder_paths.models_dir) / SAES))
        raise SaeuronError(" ".join(filter(None, (_missing("SAE", name, SAES, list_saes()), where))))
    # A folder of that name need not be an SAE in each of the places.
    return next(filter(is_sae, there), there[0])


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
    there = [path for path in _candidates(CLASSIFIERS, name) if path.exists()]
    if not there:
        raise SaeuronError(_missing("classifier", name, CLASSIFIERS, list_classifiers()))
    path = next((path for path in there if path.is_file() or _is_classifier(path)), there[0])
    return path.parent if path.name == _CLASSIFIER_FILES[-1] else path


def read_other_prompts() -> list[str]:
    """The shipped prompts that Forget compares a concept with."""
    return read_prompts(_SHIPPED[FEATURE_SETS] / "others.txt")


def own_feature_set(name: str) -> Path:
    """The path to save a user's feature set to, where `find_feature_set` finds it; outside the pack, which an update
    replaces.

    Errors: `SaeuronError` for a name that is none, or that is found earlier in another folder.
    """
    return _own(FEATURE_SETS, "feature set", name, ".json")


def own_sae(name: str) -> Path:
    """The path to save an SAE of the user's to, as `own_feature_set`."""
    return _own(SAES, "SAE", name, ".safetensors")


def _own(kind: str, what: str, name: str, suffix: str) -> Path:
    name = re.sub(f"{re.escape(suffix)}$", "", name.strip(), flags=re.IGNORECASE)
    if not name:
        raise SaeuronError(f"The {what} needs a name to be saved under.")
    for path in _candidates(kind, f"{name}{suffix}"):
        if not path.is_relative_to(_SHIPPED[kind]):
            return path
        if path.exists():
            raise SaeuronError(
                f"What is saved as {name!r} would not be found: {str(path)!r} comes before it. Choose another name."
            )
    raise SaeuronError(f"There is no folder for {kind} but the pack's own, which an update replaces.")


def hidden_by(saved: Path) -> list[Path]:
    """Feature sets of the same name in later folders, which are no longer found because `saved` is found first."""
    folders = [Path(folder) for folder in folder_paths.get_folder_paths(FEATURE_SETS)]
    own = next(place for place, folder in enumerate(folders) if saved.is_relative_to(folder))
    later = (folder / saved.relative_to(folders[own]) for folder in folders[own + 1 :])
    return [path for path in later if path.exists()]


def fingerprint(*paths: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when one of the files does, or one that lies in one of the folders."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    statuses = [(file, file.stat()) for file in files if file.exists()]
    # The real path, because a link may be made to lead elsewhere.
    return tuple((os.path.realpath(file), status.st_mtime_ns, status.st_size) for file, status in statuses)


def fingerprint_sae(path: Path) -> tuple[tuple[str, int, int], ...]:
    """`fingerprint` of all files that Load SAE reads."""
    files = find_files(path)
    return fingerprint(*filter(None, (files.weights, files.config, labels_path(path))))


def _files(kind: str) -> Iterator[tuple[PurePath, Path]]:
    """Name and path of each file that the host lists, but for broken links and names that no workflow may use."""
    for name in folder_paths.get_filename_list(kind):
        try:
            path = next((path for path in _candidates(kind, name) if path.is_file()), None)
        except SaeuronError:
            continue
        if path is not None:
            yield PurePath(name), path


def _candidates(kind: str, name: str) -> Iterator[Path]:
    """`name` in each folder, in the host's order."""
    for folder in folder_paths.get_folder_paths(kind):
        yield resolve_inside(Path(folder), name)


def _is_classifier(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _CLASSIFIER_FILES)


def _missing(what: str, name: str, kind: str, there: Iterable[str]) -> str:
    for path in _candidates(kind, name):
        if link := broken_link(path):
            return (
                f"The {what} {name!r} is behind a broken link: {str(link)!r} leads to {str(link.readlink())!r}, which "
                "is not there. Connect its disk, or make the link again."
            )
    known = ", ".join(list(there)[:12]) or "none yet"
    return f"There is no {what} named {name!r}. Put it into models/{kind}, or choose one of: {known}."
