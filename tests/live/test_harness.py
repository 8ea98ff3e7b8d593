"""The harness that the other server tests and the demo stand on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tools.host.events import Event
from tools.host.server import ComfyServer, Interrupted, ServerError

IMAGE = {"class_type": "EmptyImage", "inputs": {"width": 24, "height": 16, "batch_size": 2, "color": 0x336699}}
SAVE = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "harness"}}


def image_prompt(**inputs: Any) -> dict[str, Any]:
    return {"1": {**IMAGE, "inputs": {**IMAGE["inputs"], **inputs}}, "2": SAVE}


def test_run_gives_the_pixels(server: ComfyServer) -> None:
    images = server.run(image_prompt())["2"]["images"]
    assert len(images) == 2
    for entry in images:
        pixels = server.image(entry)
        assert pixels.shape == (16, 24, 3) and pixels.dtype == np.uint8
        assert (pixels == (0x33, 0x66, 0x99)).all()


def test_record_tells_executed_from_cached(server: ComfyServer) -> None:
    first = server.record(image_prompt(width=40))
    second = server.record(image_prompt(width=40))
    assert (first.executed, first.cached) == (["1", "2"], [])
    assert (second.executed, second.cached) == ([], ["1", "2"])
    assert first.history["outputs"] == second.history["outputs"]


def test_refused_prompt_names_node_and_input(server: ComfyServer) -> None:
    with pytest.raises(ServerError, match=r"node 1 \(EmptyImage\): Value 0 smaller than min of 1: width") as caught:
        server.run(image_prompt(width=0))
    assert caught.value.node_errors["1"]["class_type"] == "EmptyImage"


def test_failed_node_is_raised_with_its_message(server: ComfyServer) -> None:
    prompt = {
        "1": {"class_type": "LoadLatent", "inputs": {"latent": "broken.latent"}},
        "2": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "never"}},
    }
    (server.base / "input" / "broken.latent").write_bytes(b"not a latent")
    with pytest.raises(ServerError, match=r"(?s)node 1 \(LoadLatent\): \w.*, in load\n"):
        server.run(prompt)


def test_interrupt_ends_a_run(server: ComfyServer) -> None:
    prompt = image_prompt(width=1024, height=1024, batch_size=1)
    # The host looks for interrupts between nodes: a chain of blurs, so that there is something left to do.
    chain = ["1", *map(str, range(3, 30))]
    for source, id_ in itertools.pairwise(chain):
        inputs = {"image": [source, 0], "blur_radius": 10, "sigma": 5.0}
        prompt[id_] = {"class_type": "ImageBlur", "inputs": inputs}
    prompt["2"] = {**SAVE, "inputs": {"images": [chain[-1], 0], "filename_prefix": "never"}}

    def interrupt_early(event: Event) -> None:
        if event.type == "executing" and event.data["node"] == "3":
            server.interrupt()

    record = server.record(prompt, interrupt_early)
    assert record.executed[:2] == ["1", "3"] and "2" not in record.executed
    with pytest.raises(Interrupted):
        server.wait(record.prompt_id)
    assert server.run(image_prompt(width=8))


def test_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ServerError, match="unrecognized arguments: --no-such-option"):
        ComfyServer(with_pack=False, extra_args=["--no-such-option"]).__enter__()
