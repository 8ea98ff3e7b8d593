"""A real Chromium on a real ComfyUI. What it takes, npm's playwright-core and Debian's chromium, is installed here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.build_workflows import FOLDER
from tools.host import REPOSITORY
from tools.server import ComfyServer

PLAYWRIGHT = "playwright-core@1.56.1"
OUTPUT = REPOSITORY / "output" / "browser"
PLAN = {"run": "unlearn_miniature", "node": "SaeuronUnlearn", "widget": "multiplier"}


def _run(*command: str) -> str:
    """Empty if it went well, otherwise what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout or f"exit status {done.returncode}")[-500:]


def _need(program: str, *packages: str) -> str:
    """The path of `program`, from apt's `packages` if it is not there. Skips, saying why, where it can't be had."""
    if found := shutil.which(program):
        return found
    problem = "not root, and no apt to install it with"
    if shutil.which("apt-get") and os.geteuid() == 0:
        problem = _run("apt-get", "update") or _run("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    if found := shutil.which(program):
        return found
    pytest.skip(f"There is no {program}: {problem}")


@pytest.fixture(scope="session")
def modules() -> Path:
    """The folder of node modules that has playwright-core."""
    folder = OUTPUT / "npm"
    if not (folder / "node_modules" / "playwright-core").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        npm = _need("npm", "npm")
        if problem := _run(npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", PLAYWRIGHT):
            pytest.skip(f"npm can't install {PLAYWRIGHT}: {problem}")
    return folder / "node_modules"


@pytest.fixture(scope="session")
def server() -> Iterator[ComfyServer]:
    with ComfyServer() as running:
        yield running


@pytest.fixture(scope="session")
def seen(server: ComfyServer, modules: Path) -> dict[str, Any]:
    """What `drive.mjs` saw. Screenshots and its report stay in output/browser."""
    node, browser = _need("node", "nodejs"), _need("chromium", "chromium")
    plan = {**PLAN, "templates": sorted(path.stem for path in FOLDER.glob("*.json"))}
    (OUTPUT / "report.json").unlink(missing_ok=True)
    command = [node, str(Path(__file__).with_name("drive.mjs")), server.address, browser, str(OUTPUT), json.dumps(plan)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1800, env={**os.environ, "NODE_PATH": str(modules)}
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((OUTPUT / "report.json").read_text(encoding="utf-8"))
    assert "failed" not in report, report["failed"]
    return report
