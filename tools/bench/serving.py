"""What a person waits for: the slider, the host's start, loading an SAE."""

from __future__ import annotations

import copy
import json
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tools.host import REPOSITORY
from tools.sae_files import write_unbox
from tools.server import ComfyServer
from tools.workflows import find_nodes, set_input, to_api

from .timing import interleaved

WORKFLOW = REPOSITORY / "example_workflows" / "unlearn_miniature.json"
_SAMPLED = re.compile(r"100%\|[^|]*\|\s*(\d+)/\d+ \[[^,]*,\s*([\d.]+)(it/s|s/it)")


def slider(pictures: int = 15) -> dict[str, Any]:
    """Seconds from queue to picture when only the multiplier changes, and what of it is not sampling."""
    with ComfyServer() as server:
        prompt = to_api(json.loads(WORKFLOW.read_text(encoding="utf-8")), server.object_info())
        server.run(prompt)
        waited, sampled = [], []
        for turn in range(pictures):
            prompt = copy.deepcopy(prompt)
            set_input(prompt, "multiplier", -10.0 - turn, class_type="SaeuronUnlearn")
            began = time.perf_counter()
            record = server.record(prompt)
            waited.append(time.perf_counter() - began)
            if len(record.executed) > len(find_nodes(prompt, class_type="SaeuronUnlearn")) + 3:
                raise RuntimeError(f"More was run again than Unlearn, sampler, decoder, output: {record.executed}")
            steps, rate, unit = _SAMPLED.findall(server.log())[-1]
            sampled.append(int(steps) / float(rate) if unit == "it/s" else int(steps) * float(rate))
    whole = median(waited)
    return {
        "pictures": pictures,
        "seconds": round(whole, 3),
        "outside_sampling": round(1 - median(sampled) / whole, 3),
    }


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
    from saeuron.checkpoints import load_sae, save_sae
    from saeuron.sae_formats import Placement

    with tempfile.TemporaryDirectory() as folder:
        published = Path(folder) / "unet.up_blocks.0.attentions.1_k10_hidden5120" / "final"
        write_unbox(published, 1280, 5120, 10, with_moments=False)
        ours = Path(folder) / "ours.safetensors"
        loaded = load_sae(published)
        identity = loaded.identity
        save_sae(ours, loaded.sae, Placement(identity.base_model, identity.hookpoint, identity.kind))
        ways = {"safetensors": partial(load_sae, ours), "state_dict.pth": partial(load_sae, published)}
        return {name: round(value, 3) for name, value in interleaved(ways, repeats).items()}
