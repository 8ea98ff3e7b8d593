"""The example workflows as the host offers them; they are run in tests/slow."""

from __future__ import annotations

import pytest

from tools.host.server import ComfyServer, ServerError
from tools.workflows.prompts import FOLDER, read_prompt

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
NEEDS_DOWNLOADS = {"unlearn_sdxl_turbo"}


def test_they_are_offered_and_nothing_else(server: ComfyServer) -> None:
    offered = server.get("/workflow_templates")
    assert sorted(next(names for pack, names in offered.items() if "SAeUron" in pack)) == NAMES


@pytest.mark.parametrize("name", sorted(NEEDS_DOWNLOADS))
def test_an_example_that_needs_downloads_lacks_nothing_else(server: ComfyServer, name: str) -> None:
    with pytest.raises(ServerError) as refusal:
        server.run(read_prompt(name))
    wrong = {
        (error["type"], error["extra_info"]["input_name"])
        for node in refusal.value.node_errors.values()
        for error in node["errors"]
    }
    assert wrong and wrong <= {("value_not_in_list", "ckpt_name"), ("value_not_in_list", "sae_name")}
