"""The benchmark's own logic; nothing here depends on how fast anything is."""

from __future__ import annotations

import pytest
import torch

from saeuron.intervention import code_change, edit_exact
from tools.bench import dense
from tools.bench.edit import RATE, make_case
from tools.bench.timing import interleaved


def test_ways_take_turns_and_begin_in_turn():
    calls = []
    seconds = interleaved({name: lambda name=name: calls.append(name) for name in "abc"}, repeats=3, warm_up=1)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert set(seconds) == set("abc") and all(value >= 0 for value in seconds.values())


@pytest.mark.parametrize(("tokens", "n", "k"), [(64, 512, 10), (200, 2048, 32)])
def test_the_dense_way_does_the_same(tokens, n, k):
    case = make_case(tokens, n, k)
    edited = edit_exact(*case)
    assert (edited != case.output).any()
    assert torch.allclose(edited, dense.edit_exact(*case), atol=1e-3)


def test_features_fire_as_often_as_is_said():
    case = make_case(1000, 5120, 5120)
    fires = (code_change(case.sae.encode(case.x), case.edit) != 0).float().mean().item()
    assert fires == pytest.approx(RATE, abs=0.002)
