"""Getting published SAEs from the Hugging Face hub into a model folder."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import SaeuronError
from ..files import resolve_inside, sha256_of
from .options import Result, add_command

REPOSITORIES = ("surokpro2/sdxl-saes", "bcywinski/SAeUron")
LAYOUTS = (("config.json", "state_dict.pth"), ("cfg.json", "sae.safetensors"))


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "download", _download, "Get a published SAE; without a name, list what there is.")
    parser.add_argument("repository", help=f"on the Hugging Face hub, {' or '.join(REPOSITORIES)}")
    parser.add_argument("name", nargs="?", default="", help="the SAE's folder there")
    parser.add_argument("--into", type=Path, default=Path("models/saes"), help="ComfyUI's models/saes")
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
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi(endpoint=arguments.endpoint).model_info(arguments.repository, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings or ()}
    there = saes_in(files)
    if not arguments.name:
        return Result({"saes": sorted(there)}, "\n".join(sorted(there)))
    name = arguments.name.strip("/")
    if name not in there:
        raise SaeuronError(f"{arguments.repository} has no SAE {name!r}. It has: {', '.join(sorted(there)) or 'none'}.")
    written = []
    for file in there[name]:
        path = resolve_inside(arguments.into, file)
        hf_hub_download(
            arguments.repository, file, revision=info.sha, local_dir=arguments.into, endpoint=arguments.endpoint
        )
        lfs = files[file].lfs
        check(path, files[file].size, lfs.sha256 if lfs else None)
        written.append(str(path))
    return Result({"sae": name, "files": written}, "\n".join(written))


def saes_in(files: Iterable[str]) -> dict[str, list[str]]:
    """Folders that hold an SAE in a published layout, with the files of it that are needed."""
    names = set(files)
    folders = {PurePosixPath(name).parent for name in names}
    found = {}
    for folder in folders:
        for layout in LAYOUTS:
            needed = [str(folder / part) for part in layout]
            if names.issuperset(needed):
                found[str(folder)] = needed
    return found


def check(path: Path, size: int | None, sha256: str | None) -> None:
    """Delete `path` if it is not what the hub says. Errors: `SaeuronError` then."""
    if (size is not None and path.stat().st_size != size) or (sha256 and sha256_of(path) != sha256):
        path.unlink()
        raise SaeuronError(f"{path.name} arrived damaged: its checksum is not the hub's. Run the command again.")
