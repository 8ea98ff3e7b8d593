"""Times that can be compared on a machine that does other things, too: interleaved runs, medians, ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median


def time_in_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each of `ways`, round by round, after `warm_up` rounds that are not counted; who is first changes."""
    names = list(ways)
    for _ in range(warm_up):
        for name in names:
            ways[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = clock()
            ways[name]()
            seconds[name].append(clock() - began)
    return seconds


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each of `ways`, which take turns, so that all meet the same conditions."""
    return {name: median(seconds) for name, seconds in time_in_turns(ways, repeats, warm_up).items()}


def rounded(seconds: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """To a millisecond, for JSON."""
    return {name: [round(value, 3) for value in values] for name, values in seconds.items()}


def ratios(seconds: Mapping[str, Sequence[float]], name: str, to: str) -> list[float]:
    """Of `name` to `to`, round by round: what slows a round down is in both."""
    return [value / base for value, base in zip(seconds[name], seconds[to], strict=True)]
