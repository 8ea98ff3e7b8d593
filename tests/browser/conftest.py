"""A real Chromium on a real ComfyUI. What it takes is installed by `tools.host.browser`, or the tests are skipped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tools.host.browser import FOLDER as OUTPUT
from tools.host.browser import NoBrowser, drive
from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY, VERSION, host_path, host_version
from tools.workflows.__main__ import plans
from tools.workflows.prompts import FOLDER

SAVED = REPOSITORY / "tests" / "fixtures" / "workflows"
EXPORTS = not os.environ.get("FRONT_END") and host_version(host_path()) == VERSION
"""Whether this is the front end that the example workflows are exported with."""

PLAN = {"run": "unlearn_miniature", "node": "SaeuronUnlearn", "widget": "multiplier"}


@pytest.fixture(scope="session")
def seen(server: ComfyServer) -> dict[str, Any]:
    """What `drive.mjs` saw. Screenshots and its report stay in output/browser."""
    plan = {
        **PLAN,
        "templates": sorted(path.stem for path in FOLDER.glob("*.json")),
        "workflows": plans() if EXPORTS else None,
        "saved": {
            path.relative_to(SAVED).as_posix(): json.loads(path.read_text(encoding="utf-8"))
            for path in SAVED.glob("*/*.json")
        },
    }
    try:
        return drive(Path(__file__).with_name("drive.mjs"), server.address, OUTPUT, plan)
    except NoBrowser as reason:
        pytest.skip(str(reason))
