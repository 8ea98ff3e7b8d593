"""Environments that know of no checkout and of no ComfyUI."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command that knows of no ComfyUI and of no checkout, and asks no network."""
    unknown = ("COMFYUI_PATH", "PYTHONPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in unknown}
    environment |= {"HF_HUB_OFFLINE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def python_with(folder: Path, *words: str | Path) -> Path:
    """A new environment's Python, with what pip installs at `words` and the packages that the tests run with: nothing
    is downloaded."""
    venv.create(folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(packages) / "tests.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-build-isolation", *words)
    return python
