"""What the cost of NNsight is measured on: the same edit both ways, timed in turns."""

from __future__ import annotations

import torch

from tools.bench.reference_cost import HOOK, NNSIGHT, PLAIN, miniature, table, time_in_turns, ways


def test_the_hook_and_nnsight_do_the_same_edit():
    found = {name: call() for name, call in ways(miniature()).items()}
    assert torch.equal(found[HOOK], found[NNSIGHT])
    assert not torch.equal(found[HOOK], found[PLAIN]), "nothing was edited"


def test_each_is_timed_once_a_round_and_none_is_always_first():
    calls: list[str] = []
    seconds = time_in_turns({name: lambda name=name: calls.append(name) for name in "abc"}, 3)
    assert calls == [*"abc", *"abc", *"bca", *"cab"]
    assert {name: len(own) for name, own in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_taken_within_a_round():
    seconds = {PLAIN: [1.0, 2.0, 9.0], HOOK: [1.1, 2.2, 9.9], NNSIGHT: [1.5, 3.0, 13.5]}
    assert "| NNsight | 3000 | 1.500 |" in table("a machine that slows down", seconds)
