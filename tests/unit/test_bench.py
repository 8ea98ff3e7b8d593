"""The benchmark's own logic; nothing here depends on how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from saeuron.edits.intervention import code_change, edit_exact
from tools.bench import dense
from tools.bench.edit import RATE, make_case
from tools.bench.timing import interleaved, ratios
from tools.bench.training import HELD_OUT, Size, store_tokens, training_section
from tools.host.unpack import REPOSITORY


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


def test_a_ratio_is_taken_within_a_round():
    assert ratios({"a": [2.0, 30.0], "b": [1.0, 10.0]}, "a", to="b") == [2.0, 3.0]


def test_the_peak_of_a_process_is_not_its_parents():
    ballast = torch.ones(512 << 18)  # 512 MiB
    script = "from tools.bench.memory import peak_mib; print(peak_mib()); data = b'x' * (64 << 20); print(peak_mib())"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    before, after = map(float, run.stdout.split())
    assert before < ballast.nbytes / 2**20 / 2
    assert 60 < after - before < 100


def test_trainers_are_compared_on_tokens_that_have_something_to_find(tmp_path):
    size = Size(d=32, n=64, k=4, steps=30, batch=512)
    file = tmp_path / "tokens.safetensors"
    store_tokens(file, size)
    tokens = load_file(file)["tokens"]
    assert tokens.shape == (512 * 24 + HELD_OUT, 32) and 0.5 < float(tokens.float().var()) < 2
    command = [sys.executable, "-m", "tools.bench.training_ours", str(file), *map(str, (32, 64, 4, 30, 512))]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout)
    assert 0 < found["unexplained"] < 1 and found["tokens_per_second"] > 0 and found["peak_mib"] > 0


def test_our_trainer_is_compared_with_the_faster_peer():
    figures = {"ours": 30.0, "sparsify": 10.0, "dictionary_learning": 20.0}
    trainers = {n: {"tokens_per_second": s, "unexplained": 0.25, "peak_mib": 7} for n, s in figures.items()}
    section = training_section([{**Size(32, 64, 4, 30)._asdict(), "trainers": trainers}], {"threads": 2})
    assert "| ours | 30 | 1.50 | 25.00% | 7 |" in section and "| sparsify | 10 | 0.50 |" in section
