"""Files on disk: written whole or not at all, found only where they may be, read without trusting them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as brief  # what strangers wrote may be long
from typing import TYPE_CHECKING, Any

from .errors import SaeuronError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# Windows opens a device for these, whatever the extension.
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])(\.|$)", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\ud800-\udfff]')
_LONGEST_NAME = 255  # bytes, of common file systems


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either what it held before or all of `data`, even if the process is killed.

    Missing parent folders are made. A killed process may leave a hidden ``.tmp`` file beside `path`.
    Errors: `SaeuronError` if there is no room or no right to write, with `path` unchanged and nothing left beside it.
    """
    try:
        _write(path, data)
    except OSError as error:
        raise SaeuronError(
            f"{path.name} can't be written to {str(path.parent)!r}: {error.strerror or error}. Nothing was changed. "
            "Make room or give the right to write there, or choose another folder."
        ) from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, because a rename is atomic only within one file system. Not `tempfile`: its files are private to
    # their owner and would stay so after the rename.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_png(path: Path, picture: np.ndarray) -> None:
    """uint8 [H, W, 3], written and failing as `write_atomically` does."""
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(picture).save(png, format="png")
    write_atomically(path, png.getvalue())


def sha256_of(file: Path) -> str:
    """In hexadecimal; the file is read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def resolve_inside(folder: Path, name: str) -> Path:
    r"""The file that `name`, relative to `folder`, stands for; it need not exist.

    `name` comes from a workflow, so from anyone, perhaps on another system: ``/`` and ``\`` both separate, and what any
    common system would refuse or take for something else is refused on all of them.
    Errors: `SaeuronError` for absolute names, drive letters, ``.`` and ``..``, characters and names that are not
    portable, and links that lead out of `folder`.
    """
    parts = name.replace("\\", "/").split("/")
    for part in parts:
        if problem := _problem_of(part):
            raise SaeuronError(f"{name!r} can't be used as a file name: {problem}. Choose another name.")
    try:
        root = folder.resolve()
        path = root.joinpath(*parts).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise SaeuronError(f"{name!r} can't be found inside {folder.name!r}: {error}") from error
    if not path.is_relative_to(root):
        raise SaeuronError(f"{name!r} is a link that leads out of {folder.name!r}. Put the file itself there.")
    return path


def _problem_of(part: str) -> str:
    """Why `part` is no name of a file or folder; empty if it is one."""
    if part in ("", ".", ".."):
        return "a part of it is empty, '.' or '..'"
    if match := _FORBIDDEN.search(part):
        return f"it contains the character {match.group()!r}"
    if part[-1] in ". ":
        return f"{part!r} ends with a dot or a space"
    if _RESERVED.match(part):
        return f"{part!r} is the name of a device on Windows"
    if len(part.encode()) > _LONGEST_NAME:
        return f"a part of it is longer than {_LONGEST_NAME} bytes"
    return ""


def read_text(path: Path, limit: int) -> str:
    """The text of a UTF-8 file of at most `limit` bytes.

    Errors: `SaeuronError` if it is missing, larger (then it is not read), or not UTF-8.
    """
    try:
        if path.stat().st_size > limit:
            raise SaeuronError(f"{path.name} is larger than {limit >> 20} MiB; it is not what it should be.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SaeuronError(f"{path.name} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SaeuronError(f"{path.name} is not UTF-8 text. Save it as UTF-8.") from error


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (on the CPU) and metadata of a safetensors file. Errors: `SaeuronError` if it can't be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            # Cloned: what it gives is mapped to the file and would keep it from being replaced on Windows.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise SaeuronError(f"{path.name} is not a readable safetensors file; replace it. ({error})") from error


def read_pickle(path: Path) -> Mapping[Any, Any]:
    """The dictionary of tensors (on the CPU) and plain values that `torch.save` wrote to `path`; no code in it is run.

    Errors: `SaeuronError` if it needs code to be run, is damaged, or holds no dictionary.
    """
    import torch

    try:
        # weights_only: a pickle from a stranger must not run code
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise SaeuronError(
            f"{path.name} could not be read as plain weights. It is damaged, or a pickle with code in it, which is "
            f"never run. Download it again from its source. ({type(error).__name__})"
        ) from error
    if not isinstance(state, Mapping):
        raise SaeuronError(f"{path.name} holds no dictionary of weights.")
    return state


def check_format(found: object, version: object, expected: str, supported: str, source: str) -> None:
    """Refuse a file of another format, or of a newer major version than `supported`; a newer minor one is read.

    `source` names the file in messages. Errors: `SaeuronError`.
    """
    if found != expected:
        raise SaeuronError(f"{source} is not a {expected} file (its format is {brief(found)}). Choose another file.")
    match = re.fullmatch(r"(\d{1,9})\.\d{1,9}", version) if isinstance(version, str) else None
    if match is None:
        raise SaeuronError(f"{source} has version {brief(version)}; expected something like {supported!r}.")
    if int(match.group(1)) > int(supported.split(".")[0]):
        raise SaeuronError(f"{source} has version {version}, this pack reads up to {supported}. Update the pack.")
