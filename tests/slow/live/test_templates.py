"""Every example workflow, run as it is shipped."""

from __future__ import annotations

import pytest

from tools.host.server import ComfyServer
from tools.workflows.prompts import FOLDER, find_nodes, read_prompt

NEEDS_DOWNLOADS = {"unlearn_sdxl_turbo"}
NAMES = sorted({path.stem for path in FOLDER.glob("*.json")} - NEEDS_DOWNLOADS)


@pytest.mark.parametrize("name", NAMES)
def test_each_runs_to_pictures(server: ComfyServer, name: str) -> None:
    prompt = read_prompt(name)
    outputs = server.run(prompt)
    for id_ in find_nodes(prompt, class_type="SaeuronLoadFeatureSet"):
        outputs.pop(id_, None)  # the small picture that a set carries
    pictures = [server.image(entry) for output in outputs.values() for entry in output.get("images", [])]
    assert pictures and all(min(picture.shape[:2]) >= 192 and picture.std() > 5 for picture in pictures)
