"""What a person waits for: the slider, the host's start, loading an SAE."""

from __future__ import annotations

import copy
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tools.evaluation.studio import load_miniature
from tools.host.events import Event
from tools.host.server import ComfyServer
from tools.sae_files import write_unbox
from tools.workflows.prompts import read_prompt, set_input

from .timing import interleaved


def slider(pictures: int = 15) -> dict[str, Any]:
    """Milliseconds from queue to picture when only the multiplier changes, by what they are spent on."""
    spans: list[dict[str, float]] = []
    with ComfyServer() as server:
        prompt = read_prompt("unlearn_miniature")
        server.run(prompt)
        for turn in range(pictures):
            prompt = copy.deepcopy(prompt)
            set_input(prompt, "multiplier", -10.0 - turn, class_type="SaeuronUnlearn")
            spans.append(_spans(server, prompt))
    parts = {name: round(1000 * median(span[name] for span in spans), 1) for name in spans[0]}
    return {"pictures": pictures, "milliseconds": parts, "decoding_gflop": round(_decoding_flops() / 1e9, 2)}


def _spans(server: ComfyServer, prompt: dict[str, Any]) -> dict[str, float]:
    """Seconds of one run: the steps, decoding, and the whole. Raises if more than the multiplier asks for was run."""
    times: list[tuple[float, Event]] = []
    began = time.perf_counter()
    record = server.record(prompt, lambda event: times.append((time.perf_counter(), event)))
    whole = time.perf_counter() - began
    ran = [prompt[node]["class_type"] for node in record.executed]
    if ran != ["SaeuronUnlearn", "KSampler", "VAEDecode", "PreviewImage"]:
        raise RuntimeError(f"More was run again than what follows from Unlearn: {ran}")
    started = [at for at, event in times if event.type == "executing"]
    stepped = [at for at, event in times if event.type == "progress"]
    steps = (stepped[-1] - stepped[0]) * len(stepped) / (len(stepped) - 1)
    return {"steps": steps, "decoding": started[3] - started[2], "whole": whole}


def _decoding_flops() -> int:
    from torch.utils.flop_counter import FlopCounterMode

    _, _, autoencoder = load_miniature("float32")
    with FlopCounterMode(display=False) as counter:
        autoencoder.decode(torch.zeros(1, 4, 24, 24))
    return int(counter.get_total_flops())


def start(repeats: int = 3) -> dict[str, Any]:
    """Seconds until the host answers, with and without the pack, and the pack's import as the host logs it."""
    imported: list[float] = []

    def once(with_pack: bool) -> None:
        with ComfyServer(with_pack=with_pack) as server:
            if with_pack:
                imported.append(server.import_seconds())

    seconds = interleaved({"without": partial(once, False), "with": partial(once, True)}, repeats, warm_up=1)
    return {
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "import_as_logged": median(imported),
    }


def loading(repeats: int = 5) -> dict[str, Any]:
    """Seconds to read a full-size SAE (d 1280, n 5120), files in the page cache."""
    from saeuron.sae.files import load_sae, save_sae

    with tempfile.TemporaryDirectory() as folder:
        published = Path(folder) / "unet.up_blocks.0.attentions.1_k10_hidden5120" / "final"
        write_unbox(published, 1280, 5120, 10, with_moments=False)
        ours = Path(folder) / "ours.safetensors"
        loaded = load_sae(published)
        save_sae(ours, loaded.sae, loaded.placement)
        ways = {"safetensors": partial(load_sae, ours), "state_dict.pth": partial(load_sae, published)}
        return {name: round(value, 3) for name, value in interleaved(ways, repeats).items()}
