"""Files on disk: written whole or not at all, found only where they may be, read without trusting them."""

from __future__ import annotations

import hashlib
import io
import json
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

_HEAD = 1024  # bytes at the beginning of a file that tell what it is
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?<(!doctype\s+html|html|head|\?xml)\b", re.I | re.S)
_OLD_TORCH = b"\x80\x02\x8a\n" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # what torch before 1.6 begins with


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
    r"""The path in `folder` that `name` stands for; it need not exist.

    `name` comes from a workflow, so from anyone, perhaps on another system: ``/`` and ``\`` both separate, and what any
    common system would refuse or take for something else is refused on all of them. Links in `folder` are followed
    wherever they lead, as the host does: who can make them owns the machine.
    Errors: `SaeuronError` for absolute names, drive letters, ``.`` and ``..``, and characters and names that are not
    portable.
    """
    parts = name.replace("\\", "/").split("/")
    for part in parts:
        if problem := _problem_of(part):
            raise SaeuronError(f"{name!r} can't be used as a file name: {problem}. Choose another name.")
    return folder.joinpath(*parts)


def find_in(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, in upper or lower case, or a broken link of that name; None if there is neither."""
    exact = folder / name
    if exact.is_file() or exact.is_symlink():
        return exact
    if not folder.is_dir():
        return None
    alike = (entry for entry in sorted(folder.iterdir()) if entry.name.lower() == name.lower())
    return next((entry for entry in alike if entry.is_file() or entry.is_symlink()), None)


def broken_link(path: Path) -> Path | None:
    """The part of `path` that is a link to nothing, None if there is none."""
    return next((part for part in (path, *path.parents) if part.is_symlink() and not part.exists()), None)


def refuse_stand_in(path: Path) -> None:
    """Errors: `SaeuronError` if `path` is what people often have in place of a file: a broken link, a Git LFS pointer,
    a saved web page. It says how to get the file itself."""
    if link := broken_link(path):
        raise SaeuronError(
            f"{link.name} is a broken link: {str(link.readlink())!r}, which it leads to, is not there. "
            "Put the file back, connect its disk, or make the link again."
        )
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise SaeuronError(f"{path.name} can't be read: {error.strerror}.") from error
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise SaeuronError(
            f"{path.name} is a Git LFS pointer, a few lines of text in place of the file. Run `git lfs pull` in the "
            "repository that it came from, or download the file by itself."
        )
    if _WEB_PAGE.match(head):
        raise SaeuronError(
            f"{path.name} is a web page that was saved in place of the file. Download it again with the page's "
            "download button; the address of a file on Hugging Face has /resolve/ in it, not /blob/."
        )


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
    """The text of a UTF-8 file of at most `limit` bytes, without the byte order mark that some editors begin it with.

    Errors: `SaeuronError` if it is missing, larger (then it is not read), not UTF-8, or another thing in its place.
    """
    refuse_stand_in(path)
    try:
        if path.stat().st_size > limit:
            raise SaeuronError(f"{path.name} is larger than {limit >> 20} MiB; it is not what it should be.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SaeuronError(f"{path.name} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SaeuronError(f"{path.name} is not UTF-8 text. Save it as UTF-8.") from error


def format_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of contiguous tensors; the same bytes for the same content, which `save` alone does not give:
    it writes the metadata in an order of its own."""
    from safetensors.torch import save

    content = save(dict(tensors), dict(metadata))
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (on the CPU) and metadata of a safetensors file. Errors: `SaeuronError` if it can't be read."""
    from safetensors import SafetensorError, safe_open

    _refuse_what_holds_no_weights(path)
    try:
        with safe_open(path, framework="pt") as file:
            # Cloned: what it gives is mapped to the file and would keep it from being replaced on Windows.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise SaeuronError(
            f"{path.name} is not a readable safetensors file: it is damaged, or was not downloaded to the end. "
            f"Download it again. ({error})"
        ) from error


def read_pickle(path: Path) -> Mapping[Any, Any]:
    """The dictionary of tensors (on the CPU) and plain values that `torch.save` wrote to `path`; no code in it is run.

    Errors: `SaeuronError` if it needs code to be run, is damaged, or holds no dictionary.
    """
    import torch

    _refuse_what_holds_no_weights(path)
    with path.open("rb") as file:
        if file.read(len(_OLD_TORCH)) == _OLD_TORCH:  # could be read, but not with bounded memory if it is damaged
            raise SaeuronError(
                f"{path.name} is in the format of torch before 1.6. If you trust where it is from, save it anew in "
                "Python: torch.save(torch.load(file, weights_only=True), file)"
            )
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


def _refuse_what_holds_no_weights(path: Path) -> None:
    """What `refuse_stand_in` knows, an empty file, and the text with which a server refused to send the file."""
    refuse_stand_in(path)
    if not (size := path.stat().st_size):
        raise SaeuronError(f"{path.name} is empty. Download it again.")
    if size <= _HEAD:
        text = path.read_bytes().decode("utf-8", errors="replace").strip()
        if text.replace("\n", " ").isprintable() and "\ufffd" not in text:
            raise SaeuronError(f"{path.name} holds no weights, but the text {brief(text)}. Download it again.")


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
