"""What the benchmark asks of every trainer. Nothing of ours is imported: the peers' environment runs it, too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

HELD_OUT = 2048
NOT_COUNTED = 2  # steps, in which memory is got
RATE = 1e-3

# A trainer: (all training tokens, d, n, k, steps) -> (what does a step, what reconstructs tokens)
Step = Callable[[int, Tensor], object]
Start = Callable[[Tensor, int, int, int, int], tuple[Step, Callable[[Tensor], Tensor]]]


def run(start: Start, file: str, d: int, n: int, k: int, steps: int, batch: int) -> None:
    """Print tokens a second, the share of held-out variance left unexplained, and the process's peak MiB, as JSON."""
    tokens = load_file(file)["tokens"]
    train, held_out = tokens[:-HELD_OUT], tokens[-HELD_OUT:].float()
    step, reconstruct = start(train, d, n, k, steps)
    generator = torch.Generator().manual_seed(1)
    began = 0.0
    for number in range(steps):
        if number == NOT_COUNTED:
            began = time.perf_counter()
        step(number, train[torch.randint(len(train), (batch,), generator=generator)].float())
    seconds = time.perf_counter() - began
    with torch.no_grad():
        error = (held_out - reconstruct(held_out)).double().square().sum()
        variance = (held_out - held_out.mean(0)).double().square().sum()
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert peak is not None, "every Linux process has it"
    found = {
        "tokens_per_second": round(batch * (steps - NOT_COUNTED) / seconds, 1),
        "unexplained": round(float(error / variance), 4),
        "peak_mib": round(int(peak.group(1)) / 1024),
    }
    print(json.dumps(found))
