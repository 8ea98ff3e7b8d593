"""What the machine can do at best, to say how near to it we are."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def machine_rates() -> dict[str, float]:
    """Measured GFLOP/s of a float32 matrix product, and GB/s of reading and writing memory."""
    a, b = torch.randn(1024, 1280), torch.randn(1280, 5120)
    c, d = torch.zeros(64 << 20, dtype=torch.uint8), torch.zeros(64 << 20, dtype=torch.uint8)
    return {
        "gflops": round(2 * 1024 * 1280 * 5120 / _best(lambda: a @ b) / 1e9, 1),
        "gb_per_second": round(2 * c.numel() / _best(lambda: d.copy_(c)) / 1e9, 1),
    }


def _best(call: Callable[[], object], repeats: int = 15) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
