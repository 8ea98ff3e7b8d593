"""Statistics on disk: everything comes back, and damaged files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from saeuron.errors import SaeuronError
from saeuron.features.statistics import ActivationStatistics
from saeuron.files import read_safetensors
from saeuron.sae.model import SAEIdentity
from support.codes import SAE, SIGMAS, N, assert_same, codes_of


def example() -> ActivationStatistics:
    sampling = {"sampler": "euler", "cfg": 1.0, "seed": 2**64 - 1, "size": [512, 768], "note": "naïve 猫"}
    statistics = ActivationStatistics(SAE, SIGMAS, sampling, "cats 猫")
    for sigma in SIGMAS:
        statistics.add(sigma, codes_of([{0: 1 / 3, 1: 2.0}, {5: 0.25}], [{}, {6: 7.0}]))
    return statistics


def test_file_gives_everything_back(tmp_path: Path) -> None:
    statistics = example()
    statistics.save(tmp_path / "new" / "s.safetensors")
    loaded = ActivationStatistics.load(tmp_path / "new" / "s.safetensors")
    assert_same(loaded, statistics)
    for name in ("sae", "sigmas", "sampling", "concept", "prompts"):
        assert getattr(loaded, name) == getattr(statistics, name)
    loaded.add(3.0, codes_of([{0: 1.0}]))  # goes on where it stopped
    assert loaded.images.tolist() == [2, 3, 2]


def test_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    example().save(path)
    _, metadata = read_safetensors(path)
    assert (metadata["format"], metadata["version"]) == ("saeuron-statistics", "1.1")
    assert (metadata["concept"], metadata["prompts"]) == ("cats 猫", "2")
    assert SAEIdentity.from_dict(json.loads(metadata["sae"])) == SAE
    assert json.loads(metadata["sigmas"]) == list(SIGMAS)


def test_settings_that_are_no_json_are_refused_on_save(tmp_path: Path) -> None:
    with pytest.raises(SaeuronError, match="JSON"):
        ActivationStatistics(SAE, SIGMAS, {"model": object()}).save(tmp_path / "s.safetensors")
    assert not list(tmp_path.iterdir())


METADATA_DAMAGE = {
    "format": ("saeuron-sae", None),
    "version": ("2.0", "one", None),
    "sae": (None, "{}", "[]", "{", json.dumps(SAE.as_dict() | {"n": 10**15}), json.dumps(SAE.as_dict() | {"n": N + 1})),
    "sigmas": (None, "3", "[1, 2, 3]", "[3, 2]", '["3", "2", "1"]', "[3, 2, null]", "[" * 100_000),
    "sampling": (None, "[]", '{"a": 1, "a": 2}', '{"a": NaN}'),
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in METADATA_DAMAGE.items() for value in values]
)
def test_damaged_metadata_is_refused(tmp_path: Path, key: str, value: str | None) -> None:
    path = tmp_path / "s.safetensors"
    example().save(path)
    tensors, metadata = read_safetensors(path)
    changed = {name: text for name, text in {**metadata, key: value}.items() if text is not None}
    save_file(tensors, path, changed)
    with pytest.raises(SaeuronError):
        ActivationStatistics.load(path)


def damaged(name: str, change: Any) -> Any:
    def apply(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = change(tensors[name])

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: tensors.pop("images"),
        damaged("total", lambda t: t.float()),
        damaged("total", lambda t: t[:, :-1].contiguous()),
        damaged("total", lambda t: t * float("nan")),
        damaged("total", lambda t: t / 0),
        damaged("total", lambda t: -t),
        damaged("total", lambda t: t + 1),
        damaged("tokens", lambda t: t - 4),
        damaged("tokens", lambda t: t.double()),
        damaged("fired_tokens", lambda t: t + 5),
        damaged("fired_images", lambda t: t * 0),
        damaged("fired_images", lambda t: -t),
        damaged("images", lambda t: t - 2),
        damaged("images", lambda t: t + 5),
    ],
)
def test_contradicting_tensors_are_refused(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "s.safetensors"
    example().save(path)
    tensors, metadata = read_safetensors(path)
    damage(tensors)
    save_file(tensors, path, metadata)
    with pytest.raises(SaeuronError, match=r"s\.safetensors"):
        ActivationStatistics.load(path)
