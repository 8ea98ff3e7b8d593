"""``python -m tools.host.newer 0.33.0 -m pytest tests/host``: run Python against a newer ComfyUI.

The host is unpacked from an archive that lies beside this repository. Its environment is made on top of our own: what
the newer host needs in another version, or in addition, is installed into a folder of its own; everything else is
shared. Where the archive is not there, nothing is run, which the exit status takes for success.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from .unpack import REPOSITORY, HostError, host_version

ARCHIVES = REPOSITORY.parent / "shared" / "hosts"


class Archive(NamedTuple):
    """A host that is known to run."""

    sha256: str
    requirements: tuple[str, ...]
    """Of its own list what our environment has in another version, or not at all."""


KNOWN = {
    "0.33.0": Archive(
        "0b587372f1622a10253507a78ad2e902ba7886d535f73521ea77b3cca8e83c93",
        (
            "comfyui-frontend-package==1.49.6",
            "comfyui-workflow-templates==0.11.44",
            "comfyui-embedded-docs==0.5.10",
            "comfy-kitchen==0.2.31",
            "comfy-aimdo==0.4.13",
            "comfy-angle==0.1.1",
            "simpleeval>=1.0,<2",
            "blake3>=1.0,<2",
            "PyOpenGL>=3.1.8,<4",
            "torchaudio==2.11.0",
        ),
    )
}


def archive_of(version: str) -> Path:
    return ARCHIVES / f"ComfyUI-{version}.tar.xz"


def ensure_newer_host(version: str) -> tuple[Path, Path]:
    """The folder of ComfyUI `version` and the Python to run it with; both are made where they are missing.

    Raises:
        HostError: the version is not known, or its archive is not the known file.
    """
    if version not in KNOWN:
        raise HostError(f"ComfyUI {version} is not known; there is {', '.join(KNOWN)}.")
    folder, environment = REPOSITORY / f".host-{version}", REPOSITORY / f".venv-{version}"
    host = folder / f"ComfyUI-{version}"
    if host_version(host) != version:
        _unpack(archive_of(version), KNOWN[version].sha256, folder)
    python = environment / "bin" / "python"
    if not (environment / ".complete").exists():
        _make_environment(environment, python, KNOWN[version].requirements)
    return host, python


def _unpack(archive: Path, sha256: str, folder: Path) -> None:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise HostError(f"{archive.name} is not the known file: sha256 {found}, expected {sha256}.")
    work = Path(tempfile.mkdtemp(prefix=".unpack-", dir=REPOSITORY))
    try:
        with tarfile.open(archive) as content:
            content.extractall(work / "host", filter="data")
        shutil.rmtree(folder, ignore_errors=True)
        (work / "host").rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _make_environment(environment: Path, python: Path, requirements: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    of_theirs = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # Its own packages come first on sys.path, so they are the ones that are imported.
    Path(of_theirs, "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    if subprocess.run(command, check=False).returncode:
        raise HostError("pip could not install what the newer ComfyUI needs (its message is above).")
    (environment / ".complete").touch()


def main() -> int:
    version, *arguments = sys.argv[1:]
    if version in KNOWN and not archive_of(version).exists():
        print(f"skipped: no tests on ComfyUI {version}, because {archive_of(version).name} is not in {ARCHIVES}")
        return 0
    try:
        host, python = ensure_newer_host(version)
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    return subprocess.run(
        [str(python), *arguments], env={**os.environ, "COMFYUI_PATH": str(host)}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
