"""A real Chromium on a real ComfyUI. What it takes is installed by `tools.host.browser`, or the tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.build_workflows import FOLDER
from tools.host.browser import FOLDER as OUTPUT
from tools.host.browser import NoBrowser, drive
from tools.host.server import ComfyServer

PLAN = {"run": "unlearn_miniature", "node": "SaeuronUnlearn", "widget": "multiplier"}


@pytest.fixture(scope="session")
def server() -> Iterator[ComfyServer]:
    with ComfyServer() as running:
        yield running


@pytest.fixture(scope="session")
def seen(server: ComfyServer) -> dict[str, Any]:
    """What `drive.mjs` saw. Screenshots and its report stay in output/browser."""
    plan = {**PLAN, "templates": sorted(path.stem for path in FOLDER.glob("*.json"))}
    try:
        return drive(Path(__file__).with_name("drive.mjs"), server.address, OUTPUT, plan)
    except NoBrowser as reason:
        pytest.skip(str(reason))
