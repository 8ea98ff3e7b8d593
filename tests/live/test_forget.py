"""The example of Forget on a real server: what it looks at once it keeps, also after an interrupt and a restart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saeuron.features.forgetting import concept_prompts
from saeuron.prompts import read_prompts
from tools.host.events import Event
from tools.host.server import ComfyServer, Interrupted
from tools.host.unpack import REPOSITORY
from tools.workflows.prompts import Prompt, find_nodes, read_prompt, set_input

OTHERS = len(set(read_prompts(REPOSITORY / "feature_sets" / "others.txt")))
OWN = len(concept_prompts("tower"))
BATCH = 16
SIDE = 64


def asking_for(text: str) -> Prompt:
    """The example with towers to be forgotten, for a small picture in few steps."""
    prompt = read_prompt("forget_a_concept")
    set_input(prompt, "concepts", "tower -> tree", class_type="SaeuronForget")
    set_input(prompt, "text", text, title="Prompt")
    for side in ("width", "height"):
        set_input(prompt, side, SIDE, class_type="EmptyLatentImage")
    for sampler in find_nodes(prompt, class_type="KSampler"):
        prompt[sampler]["inputs"]["steps"] = 2
    return prompt


def forget_node(prompt: Prompt) -> str:
    (node,) = find_nodes(prompt, class_type="SaeuronForget")
    return node


def before_and_after(server: ComfyServer, outputs: dict[str, Any], prompt: Prompt) -> tuple[np.ndarray, np.ndarray]:
    """The halves of the comparison, without its labels."""
    (node,) = find_nodes(prompt, class_type="SaeuronCompare")
    shown = server.image(outputs[node]["images"][0])
    return shown[-SIDE:, :SIDE], shown[-SIDE:, -SIDE:]


def files_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Name -> when it was written and what is in it, hidden files and those of other endings, too."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def empty(server: ComfyServer) -> Path:
    """Where Forget keeps what it has found; nothing of earlier tests is in it."""
    folder = server.base / "models" / "feature_sets" / "forget"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def found(server: ComfyServer, empty: Path) -> dict[str, Any]:
    """What the first run did: it was interrupted while Forget looked at other prompts, and queued again."""
    prompt = asking_for("a tower in twemoji style")
    node = forget_node(prompt)

    def interrupt_in_the_second_batch(event: Event) -> None:
        if event.type != "progress" or (event.data["node"], event.data["max"]) != (node, OTHERS):
            return
        if event.data["value"] > BATCH:
            server.interrupt()

    stopped = server.record(prompt, interrupt_in_the_second_batch)
    with pytest.raises(Interrupted):
        server.wait(stopped.prompt_id)
    left = files_in(empty)
    again = server.record(prompt)
    outputs = server.wait(again.prompt_id)["outputs"]
    return {
        "left": left,
        "looked at": again.progress(node),
        "files": files_in(empty),
        "text": outputs[node]["text"][0],
        "pictures": before_and_after(server, outputs, prompt),
    }


def test_an_interrupt_leaves_no_file_and_what_was_looked_at_is_not_looked_at_again(found: dict[str, Any]) -> None:
    assert found["left"] == {}
    assert min(value for value, whole in found["looked at"] if whole == OTHERS) > BATCH
    assert (OWN, OWN) in found["looked at"]


def test_what_was_found_is_kept_and_acts(found: dict[str, Any]) -> None:
    others, tower = sorted(found["files"])
    assert others.startswith("others-") and others.endswith(".safetensors")
    assert tower.startswith("tower-") and tower.endswith(".json")
    assert json.loads(found["files"][tower][1])["concept"] == "tower"
    assert found["text"].startswith("tower -> tree: ")
    before, after = found["pictures"]
    assert before.shape == after.shape == (SIDE, SIDE, 3) and not np.array_equal(before, after)


def test_the_second_time_it_looks_at_nothing_and_leaves_other_prompts_alone(
    server: ComfyServer, empty: Path, found: dict[str, Any]
) -> None:
    server.request("/free", {"unload_models": True, "free_memory": True})  # as after a restart
    prompt = asking_for("a flower in twemoji style")
    record = server.record(prompt)
    outputs = server.wait(record.prompt_id)["outputs"]
    assert forget_node(prompt) in record.executed and not record.progress(forget_node(prompt))
    assert files_in(empty) == found["files"]
    before, after = before_and_after(server, outputs, prompt)
    assert before.std() > 5 and np.array_equal(before, after)


def test_a_look_first_draws_twice_and_shows_its_progress_twice(server: ComfyServer, found: dict[str, Any]) -> None:
    prompt = asking_for("a tower in twemoji style")
    set_input(prompt, "look_first", True, class_type="SaeuronForget")
    record = server.record(prompt)
    before, after = before_and_after(server, server.wait(record.prompt_id)["outputs"], prompt)
    assert not np.array_equal(before, after) and not np.array_equal(after, found["pictures"][1])
    (edited,) = find_nodes(prompt, title="Sample after")
    # Newer hosts leave out some of what comes fast, but no end.
    assert [value for value, _ in record.progress(edited)].count(2) == 2
