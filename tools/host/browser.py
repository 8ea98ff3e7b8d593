"""Chromium for browser tests and pictures: npm's playwright-core and Debian's chromium, installed where missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tools.host.unpack import REPOSITORY

PLAYWRIGHT = "playwright-core@1.56.1"
FOLDER = REPOSITORY / "output" / "browser"
"""Screenshots, reports and node modules."""


class NoBrowser(Exception):
    """There is no browser and none can be installed; the message says what is missing and why."""


def drive(script: Path, address: str, folder: Path, plan: dict[str, Any], timeout: float = 1800) -> dict[str, Any]:
    """What the module `script` (see `browser.mjs`) reports of the front end at `address`; its files go to `folder`.

    Whatever went wrong in the page is in the report's "errors".

    Raises:
        NoBrowser: the browser or what it needs can't be had.
        RuntimeError: the script failed; its words are in the message.
    """
    modules = _modules()
    node, browser = _need("node", "nodejs"), _need("chromium", "chromium")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    command = [node, str(Path(__file__).with_name("browser.mjs")), str(script), address, browser, str(folder)]
    environment = {**os.environ, "NODE_PATH": str(modules)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    if "failed" in report:
        raise RuntimeError(report["failed"])
    return report


def _modules() -> Path:
    """The folder of node modules that has playwright-core."""
    folder = FOLDER / "npm"
    if not (folder / "node_modules" / "playwright-core").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        npm = _need("npm", "npm")
        if problem := _run(npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", PLAYWRIGHT):
            raise NoBrowser(f"npm can't install {PLAYWRIGHT}: {problem}")
    return folder / "node_modules"


def _need(program: str, *packages: str) -> str:
    """The path of `program`, from apt's `packages` if it is not there."""
    if found := shutil.which(program):
        return found
    problem = "not root, and no apt to install it with"
    if shutil.which("apt-get") and os.geteuid() == 0:
        problem = _run("apt-get", "update") or _run("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    if found := shutil.which(program):
        return found
    raise NoBrowser(f"There is no {program}: {problem}")


def _run(*command: str) -> str:
    """Empty if it went well, otherwise what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout or f"exit status {done.returncode}")[-500:]
