"""Times that can be compared on a machine that does other things, too: interleaved runs, medians, ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each of `ways`, which take turns, in changing order, so that all meet the same conditions."""
    names = list(ways)
    for _ in range(warm_up):
        for name in names:
            ways[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in times.items()}
