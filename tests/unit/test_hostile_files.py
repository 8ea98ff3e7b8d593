"""Files from strangers: valid ones damaged in every way we can think of.

Whatever is in a file, reading it gives a value that is whole, or a `SaeuronError`; nothing else is raised, no code
runs, nothing is written, and memory stays bounded.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.features.before_after import BeforeAfter
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.statistics import ActivationStatistics
from saeuron.prompts import read_prompts
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import Placement
from support.codes import SAE, SIGMAS, codes_of
from support.examples import examples
from support.reference import random_sae
from tools.sae_files import write_sparsify, write_unbox

PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")
MEMORY = 64 << 20


def read_sae(path: Path) -> None:
    sae, identity, *_ = load_sae(path, PLACE if path.is_dir() and "up_blocks" not in str(path) else None)
    assert (sae.d, sae.n, sae.k) == (identity.d, identity.n, identity.k)
    for tensor in sae.state_dict().values():
        assert torch.isfinite(tensor).all()


def read_feature_set(path: Path) -> None:
    feature_set = FeatureSet.load(path)
    assert FeatureSet.from_json(feature_set.to_json()) == feature_set


def read_statistics(path: Path) -> None:
    statistics = ActivationStatistics.load(path)
    assert torch.isfinite(statistics.total).all()
    assert (statistics.fired_images <= statistics.fired_tokens).all()


def write_our_sae(folder: Path) -> None:
    save_sae(folder / "sae.safetensors", random_sae(8, 16, 3, seed=1), PLACE)


def write_feature_set(folder: Path) -> None:
    steps = tuple(FeatureStep(s, (Feature(1, 0.5, 1.0, 0.5, 0.1, 0.2), Feature(3))) for s in SIGMAS)
    picture = BeforeAfter.of(*np.zeros((2, 16, 16, 3), np.uint8))
    feature_set = FeatureSet("cats", SAE, {"steps": 3}, {"tau": 2}, steps, "a note 猫", picture=picture)
    feature_set.save(folder / "cats.json")


def write_statistics(folder: Path) -> None:
    statistics = ActivationStatistics(SAE, SIGMAS, {"cfg": 1.0}, "cats")
    for sigma in SIGMAS:
        statistics.add(sigma, codes_of([{0: 1.0, 1: 2.0}, {5: 0.25}]))
    statistics.save(folder / "s.safetensors")


# What is written, the file that is damaged, what is read
KINDS: dict[str, tuple[Callable[[Path], Any], str, Callable[[Path], Any], str]] = {
    "our SAE": (write_our_sae, "sae.safetensors", read_sae, "sae.safetensors"),
    "unbox weights": (lambda f: write_unbox(f / "x", 8, 16, 3), "x/state_dict.pth", read_sae, "x"),
    "unbox config": (lambda f: write_unbox(f / "x", 8, 16, 3), "x/config.json", read_sae, "x"),
    "unbox moments": (lambda f: write_unbox(f / "x", 8, 16, 3), "x/mean.pt", read_sae, "x"),
    "sparsify weights": (lambda f: write_sparsify(f / "x", 8, 16, 3), "x/sae.safetensors", read_sae, "x"),
    "sparsify config": (lambda f: write_sparsify(f / "x", 8, 16, 3), "x/cfg.json", read_sae, "x"),
    "feature set": (write_feature_set, "cats.json", read_feature_set, "cats.json"),
    "statistics": (write_statistics, "s.safetensors", read_statistics, "s.safetensors"),
    "prompts": (lambda f: (f / "p.txt").write_text("a cat\n# no\na 猫\n" * 5), "p.txt", read_prompts, "p.txt"),
}


def flip(data: bytearray, place: int, value: int) -> None:
    data[place % len(data)] ^= value or 1


def cut(data: bytearray, place: int, value: int) -> None:
    del data[place % len(data) :]


def blank(data: bytearray, place: int, value: int) -> None:
    start = place % len(data)
    data[start : start + 1 + value] = bytes([value]) * len(data[start : start + 1 + value])


def repeat(data: bytearray, place: int, value: int) -> None:
    start = place % len(data)
    data[start:start] = data[start : start + 1 + value] * 3


def grow_number(data: bytearray, place: int, value: int) -> None:
    """A digit becomes many: sizes, offsets, indices and counts out of all bounds."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if digits:
        at = digits[place % len(digits)]
        data[at : at + 1] = (b"9" * 18, b"-1", b"1e400", b"0", b"NaN")[value % 5]


def header_length(data: bytearray, place: int, value: int) -> None:
    """The first eight bytes of safetensors say how long its header is."""
    data[:8] = struct.pack("<Q", (0, 1, 2**63, 2**40, len(data), place)[value % 6])


def infinite(data: bytearray, place: int, value: int) -> None:
    """float32 NaN or infinity somewhere in the tail, where tensors lie."""
    start = len(data) // 2 + place % max(1, len(data) // 2)
    data[start : start + 4] = struct.pack("<f", (float("nan"), float("inf"), -float("inf"), 3e38)[value % 4])


DAMAGES = (flip, cut, blank, repeat, grow_number, header_length, infinite)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, (write, *_) in KINDS.items():
        folders[name] = tmp_path_factory.mktemp(name.replace(" ", "_"))
        write(folders[name])
    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_the_originals_are_read(originals, kind):
    *_, read, target = KINDS[kind]
    read(originals[kind] / target)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(70), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damages=st.lists(
        st.tuples(st.sampled_from(DAMAGES), st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=3
    )
)
def test_damage_is_refused_or_harmless(originals, kind, damages):
    _, damaged, read, target = KINDS[kind]
    folder = originals[kind]
    file = folder / damaged
    whole = file.read_bytes()
    data = bytearray(whole)
    for damage, place, value in damages:
        if data:
            damage(data, place, value)
    before = sorted(folder.rglob("*"))
    file.write_bytes(data)
    tracemalloc.start()
    try:
        read(folder / target)
    except SaeuronError as error:
        assert str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        file.write_bytes(whole)
    assert peak < MEMORY
    assert sorted(folder.rglob("*")) == before


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


@pytest.mark.parametrize("name", ["state_dict.pth", "mean.pt", "std.pt"])
@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"state_dict": b}, lambda b: {"state_dict": {"pre_bias": b}}])
@pytest.mark.parametrize("save", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
def test_a_pickle_with_code_never_runs(tmp_path, name, wrap, save):
    write_unbox(tmp_path / "sae", 8, 16, 3)
    save(wrap(Bomb(tmp_path / "mark")), tmp_path / "sae" / name)
    try:
        load_sae(tmp_path / "sae", PLACE)
    except SaeuronError:
        pass
    else:
        assert name != "state_dict.pth"
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("kind", ["our SAE", "sparsify weights", "statistics"])
@pytest.mark.parametrize("shape", [[2**40, 2**20], [0, 8], [16], [-1, 8], [16, 8, 1]])
def test_promised_shapes_are_not_believed(tmp_path, kind, shape):
    """A header may promise any size; nothing of that size is made."""
    write, damaged, read, target = KINDS[kind]
    write(tmp_path)
    data = (tmp_path / damaged).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    header[first]["shape"] = shape
    changed = json.dumps(header).encode()
    (tmp_path / damaged).write_bytes(struct.pack("<Q", len(changed)) + changed + data[8 + length :])
    with pytest.raises(SaeuronError):
        read(tmp_path / target)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    for name, read in (("big.json", FeatureSet.load), ("big.txt", read_prompts)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)  # sparse: nothing is on disk
        with pytest.raises(SaeuronError, match="larger than"):
            read(tmp_path / name)
