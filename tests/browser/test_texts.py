"""What nodes say stays on them after a run: on the graph, in subgraphs, on cached runs, in both looks of nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.host.browser import FOLDER as OUTPUT
from tools.host.browser import NoBrowser, drive
from tools.host.server import ComfyServer
from tools.workflows.prompts import FOLDER

LOOKS = ("classic", "nodes2")
SAYING = "SaeuronLoadFeatureSet", "SaeuronUnlearn"


@pytest.fixture(scope="module")
def texts(server: ComfyServer) -> dict[str, Any]:
    run = json.loads((FOLDER / "unlearn_miniature.json").read_text(encoding="utf-8"))
    try:
        return drive(Path(__file__).with_name("texts.mjs"), server.address, OUTPUT, {"run": run})
    except NoBrowser as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("run", ["first", "again", "subgraph", "subgraphAgain"])
def test_texts_stay_when_the_run_is_over(texts: dict[str, Any], look: str, run: str) -> None:
    said = texts[look][run]
    assert sorted(said) == sorted(SAYING)
    assert all(len(values) == 1 and values[0].strip() for values in said.values()), "each text once"
    assert "cats: 10 features" in said["SaeuronLoadFeatureSet"][0]
    assert said == texts[look]["first"]


@pytest.mark.parametrize("look", LOOKS)
def test_a_person_can_read_them(texts: dict[str, Any], look: str) -> None:
    for text in texts[look]["first"].values():
        assert text[0].splitlines()[0] in texts[look]["shown"]


@pytest.mark.parametrize("look", LOOKS)
def test_they_are_neither_saved_nor_sent(texts: dict[str, Any], look: str) -> None:
    for text in texts[look]["first"].values():
        assert json.dumps(text[0].splitlines()[0])[1:-1] not in texts[look]["saved"]
    assert "saeuron_text" not in texts[look]["saved"]


def test_the_page_has_no_errors(texts: dict[str, Any]) -> None:
    assert texts["errors"] == []
