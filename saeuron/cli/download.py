"""Getting published SAEs from the Hugging Face hub into a model folder."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ..comfyui import comfyui_folder
from ..errors import SaeuronError
from ..files import resolve_inside, sha256_of
from ..optional import require
from ..sae.layouts import LAYOUTS, source_of
from ..sae.repositories import REPOSITORIES
from .options import Result, add_command

TOP = "."
"""The name of an SAE whose files lie at the top of a repository."""

EVERYTHING = "all"
"""In place of an SAE's name."""


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "download", _download, "Get a published SAE; without a name, list what there is.")
    parser.add_argument(
        "repository", nargs="?", default="", help="on the Hugging Face hub; without it, those that are known"
    )
    parser.add_argument("name", nargs="?", default="", help=f"the SAE's folder there, or {EVERYTHING}")
    parser.add_argument(
        "--into", type=Path, default=(comfyui_folder() or Path()) / "models" / "saes", help="default: %(default)s"
    )
    parser.add_argument("--endpoint", help="another hub than the public one")


def _download(arguments: Namespace) -> Result:
    try:
        return _fetch(arguments)
    except SaeuronError:
        raise
    except Exception as error:  # the hub, the network and the disk each have exceptions of their own
        raise SaeuronError(
            f"{arguments.repository} could not be had from the Hugging Face hub; run the command again, files "
            f"that are there are kept. Without a network, copy the SAE's folder into {arguments.into}. "
            f"({type(error).__name__}: {str(error)[:200]})"
        ) from error


def _fetch(arguments: Namespace) -> Result:
    if not arguments.repository:
        rows = [(r.name, r.base_model, f"{r.layout.config} + {r.layout.weights}") for r in REPOSITORIES]
        return Result({"repositories": [name for name, *_ in rows]}, "\n".join(map("  ".join, rows)))
    hub = require("huggingface_hub", "huggingface_hub", "Downloading")
    info = hub.HfApi(endpoint=arguments.endpoint).model_info(arguments.repository, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings or ()}
    there = saes_in(files)
    if not arguments.name:
        return Result({"saes": sorted(there)}, "\n".join(sorted(there)))
    asked = arguments.name.strip("/")
    wanted = sorted(there) if asked == EVERYTHING and there else [asked]
    if not set(wanted) <= set(there):
        others = {source for file in files if (source := source_of(PurePosixPath(file).name))}
        more = f" It has SAEs in the format of {', '.join(sorted(others))}, and can't be read." if others else ""
        known = ", ".join(sorted(there)) or "none that this reads"
        raise SaeuronError(f"{arguments.repository} has no SAE {asked!r}. It has: {known}.{more}")
    written = []
    for sae, file in [(name, file) for name in wanted for file in there[name]]:
        # A folder of its own for files at the top of a repository, as they say nothing of where they are from.
        into = arguments.into / PurePosixPath(arguments.repository).name if sae == TOP else arguments.into
        path = resolve_inside(into, file)
        url = hub.hf_hub_url(arguments.repository, file, revision=info.sha, endpoint=arguments.endpoint)
        bring(published_file(url, files[file]), path)
        written.append(str(path))
    return Result({"sae": asked, "files": written}, "\n".join(written))


def saes_in(files: Iterable[str]) -> dict[str, list[str]]:
    """Folders that hold an SAE in a published layout, with the files of it that are needed."""
    names = set(files)
    folders = {PurePosixPath(name).parent for name in names}
    found = {}
    for folder in folders:
        for layout in LAYOUTS:
            needed = [str(folder / part) for part in (layout.config, layout.weights)]
            if names.issuperset(needed):
                found[str(folder)] = needed
    return found


class PublishedFile(NamedTuple):
    """A file on the hub, and what tells whether one on this disk is the same."""

    url: str
    size: int
    sha256: str
    """Of the large ones; empty for those that the repository's git keeps itself."""
    git_sha1: str
    """git's name for the content of the others."""

    def is_at(self, path: Path) -> bool:
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256:
            return sha256_of(path) == self.sha256
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == self.git_sha1


def published_file(url: str, listed: Any) -> PublishedFile:
    """`listed` is the hub client's ``RepoSibling``. Errors: `SaeuronError` if it has no checksum."""
    sha256 = listed.lfs.sha256 if listed.lfs else ""
    if listed.size is None or not (sha256 or listed.blob_id):
        raise SaeuronError(f"The hub states no size and checksum of {listed.rfilename}, so it can't be trusted.")
    return PublishedFile(url, listed.size, sha256, listed.blob_id or "")


def bring(file: PublishedFile, path: Path) -> None:
    """Make `path` what the hub has, if it is not.

    What has arrived is kept in a hidden ``.part`` file beside `path`, so that the next call goes on there, however this
    one ends. The hub client's own download begins anew. Errors: `SaeuronError` for a wrong checksum, with `path`
    unchanged; whatever the hub client raises.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if file.is_at(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{(file.sha256 or file.git_sha1)[:16]}.part")
    if part.is_file() and part.stat().st_size > file.size:
        part.unlink()  # two processes at once
    with part.open("ab", buffering=0) as opened:  # what has come is on the disk, whenever the process is killed
        http_get(
            file.url,
            opened,
            resume_size=opened.tell(),
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=path.name,
        )
    if not file.is_at(part):
        part.unlink()
        raise SaeuronError(f"{path.name} arrived damaged: its checksum is not the hub's. Run the command again.")
    part.replace(path)
