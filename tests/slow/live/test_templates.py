"""Every example workflow, run as it is shipped."""

from __future__ import annotations

import pytest

from tools.host.server import ComfyServer
from tools.workflows.prompts import FOLDER, read_prompt

NEEDS_DOWNLOADS = {"unlearn_sdxl_turbo"}
NAMES = sorted({path.stem for path in FOLDER.glob("*.json")} - NEEDS_DOWNLOADS)


@pytest.mark.parametrize("name", NAMES)
def test_each_runs_to_pictures(server: ComfyServer, name: str) -> None:
    outputs = server.run(read_prompt(name))
    pictures = [server.image(entry) for output in outputs.values() for entry in output.get("images", [])]
    assert pictures and all(min(picture.shape[:2]) >= 192 and picture.std() > 5 for picture in pictures)
