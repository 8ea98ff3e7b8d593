"""What a person sees: the example workflows as committed, templates, the run, the slider, the help page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.host.browser import FOLDER as SCREENSHOTS
from tools.host.server import ComfyServer
from tools.workflows.__main__ import contents
from tools.workflows.prompts import FOLDER, find_nodes, read_prompt

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
DEPENDS_ON_THE_SLIDER = {"SaeuronUnlearn", "KSampler", "VAEDecode", "PreviewImage"}


def test_each_committed_workflow_is_what_the_front_end_exports(seen: dict[str, Any]) -> None:
    if "exported" not in seen:
        pytest.skip("another front end than the one that they are exported with")
    for path, content in contents(seen["exported"]).items():
        assert path.read_text(encoding="utf-8") == content, f"run python -m tools.workflows: {path.name}"


@pytest.mark.parametrize("name", NAMES)
def test_each_template_opens_as_it_was_saved(seen: dict[str, Any], name: str) -> None:
    opened = seen["templates"][name]
    assert opened["missing"] == []
    assert _comparable(opened["prompt"]) == _comparable(read_prompt(name))


def test_a_bypassed_unlearn_leaves_the_plain_model(seen: dict[str, Any]) -> None:
    expected = read_prompt("unlearn_miniature")
    (unlearn,) = find_nodes(expected, class_type="SaeuronUnlearn")
    model = expected.pop(unlearn)["inputs"]["model"]
    for node in expected.values():
        node["inputs"] = {name: model if value == [unlearn, 0] else value for name, value in node["inputs"].items()}
    assert _comparable(seen["bypassed"]) == _comparable(expected)


def _comparable(prompt: dict[str, Any]) -> dict[str, Any]:
    """Without what front ends differ in: which pack a node is from, and the preview of the host's Preview Any."""
    return {
        id_: {
            **node,
            "inputs": {name: value for name, value in node["inputs"].items() if name != "preview"},
            "_meta": {"title": node["_meta"]["title"]},
        }
        for id_, node in prompt.items()
    }


def _after(run: dict[str, Any], seen: dict[str, Any], server: ComfyServer) -> np.ndarray:
    """The picture of the node titled After, from whichever run drew it."""
    prompt = seen["templates"]["unlearn_miniature"]["prompt"]
    (after,) = [id_ for id_, node in prompt.items() if node["_meta"]["title"] == "After"]
    return server.image(run["images"][after][0])


def test_the_run_button_gives_pictures(seen: dict[str, Any], server: ComfyServer) -> None:
    assert seen["first"]["ended"] == "success"
    assert _after(seen["first"], seen, server).shape == (192, 192, 3)


@pytest.mark.parametrize(("run", "slider"), [("second", "slider"), ("live", "sliderLive")])
def test_the_slider_changes_the_picture_and_runs_nothing_else(
    seen: dict[str, Any], server: ComfyServer, run: str, slider: str
) -> None:
    """`live`: with the front end's "run on change" nothing else is clicked."""
    assert seen[slider]["before"] != seen[slider]["after"]
    assert seen[run]["ended"] == "success"
    before = seen["first" if run == "second" else "second"]
    assert not np.array_equal(_after(seen[run], seen, server), _after(before, seen, server))
    prompt = seen["templates"]["unlearn_miniature"]["prompt"]
    assert {prompt[id_]["class_type"] for id_ in seen[run]["executing"]} == DEPENDS_ON_THE_SLIDER
    assert not set(seen[run]["executing"]) & set(seen[run]["cached"])
    classes = {prompt[id_]["class_type"] for id_ in seen[run]["cached"]}
    assert classes >= {"SaeuronLoadMiniature", "SaeuronLoadSAE", "SaeuronLoadFeatureSet", "CLIPTextEncode"}


def test_the_help_page_opens_with_its_pictures(seen: dict[str, Any]) -> None:
    assert "When it goes wrong" in seen["help"]["text"]
    pictures = {Path(picture["source"]).name: picture["width"] for picture in seen["help"]["pictures"]}
    assert set(pictures) == {"SaeuronUnlearn.png", "SaeuronUnlearn_output.jpg"}
    assert all(width > 100 for width in pictures.values()), pictures


def test_screenshots_are_kept(seen: dict[str, Any]) -> None:
    names = [*(f"template_{name}" for name in NAMES), "run", "slider", "help"]
    assert all((SCREENSHOTS / f"{name}.png").stat().st_size > 10_000 for name in names)


def test_the_page_has_no_errors(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
