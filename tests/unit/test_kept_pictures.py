"""The codes of some pictures that statistics keep for detectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from saeuron.errors import SaeuronError
from saeuron.features import kept_pictures
from saeuron.features.kept_pictures import KEPT, KEPT_TOKENS, KeptPictures
from saeuron.features.statistics import ActivationStatistics
from saeuron.files import read_safetensors
from saeuron.sae.model import SparseCodes
from support.codes import SAE, SIGMAS, K, N, assert_same, codes_of, collect

FIRST = SIGMAS[0]


def picture(seed: int, tokens: int = 3) -> SparseCodes:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(1, tokens, K, generator=generator) * 9
    return SparseCodes(values, torch.rand(1, tokens, N, generator=generator).argsort(-1)[..., :K].contiguous())


def kept(statistics: ActivationStatistics) -> list[dict[int, float]]:
    """Of one-token pictures the activations above 0."""
    codes = (picture for picture in statistics.pictures.codes())
    return [{int(i): float(v) for v, i in zip(values[0], indices[0], strict=True) if v} for values, indices in codes]


def test_only_named_pictures_are_kept_and_only_at_the_first_step() -> None:
    codes = codes_of([{1: 2.0}], [{3: 0.5}])
    assert not len(collect([(FIRST, codes)]).pictures)
    assert not len(collect([(SIGMAS[1], codes, ["a", "b"])]).pictures)
    assert not len(collect([(FIRST * 0.9, codes, ["a", "b"])]).pictures)  # between steps, as samplers of second order
    once = collect([(FIRST * (1 - 1e-5), codes, ["a", "b"])])
    assert sorted(map(str, kept(once))) == ["{1: 2.0}", "{3: 0.5}"]
    assert_same(once, collect([(FIRST, codes, ["a", "b"])]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=14), st.data())
def test_shards_in_any_order_keep_what_one_pass_keeps(parts: list[tuple[int, int]], data: st.DataObject) -> None:
    """Also where there are more than fit, and where a picture was recorded twice and differently."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_pictures, "KEPT", 4)
        named = [(FIRST, picture(100 * name + other, 1 + name % 3), [f"{name}"]) for name, other in parts]
        shuffled = data.draw(st.permutations(named))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(named)), max_size=3)))
        shards = [collect(shuffled[a:b]) for a, b in zip([0, *cuts], [*cuts, len(named)], strict=True)]
        together = ActivationStatistics.merged(shards)
        assert_same(together, collect(named))
        assert len(together.pictures) == min(4, len({name for name, _ in parts}))


def test_files_of_shards_are_the_same_bytes(tmp_path: Path) -> None:
    parts = [(FIRST, picture(i), [f"{i} a cat"]) for i in range(6)]
    collect(parts).save(tmp_path / "pass")
    collect(parts[4:]).merge(collect(parts[:4])).save(tmp_path / "shards")

    def data(file: str) -> bytes:
        content = (tmp_path / file).read_bytes()
        return content[8 + int.from_bytes(content[:8], "little") :]  # safetensors orders its header by chance

    assert data("pass") == data("shards")


def test_which_are_kept_does_not_depend_on_what_they_show() -> None:
    """Or on how many there are: pictures of two lists are kept in proportion."""
    names = [f"{i} {concept}" for concept in ("cat", "dog") for i in range(400)]
    values = torch.tensor([1.0] * 400 + [2.0] * 400).view(-1, 1, 1).expand(-1, 1, K)
    statistics = collect([(FIRST, SparseCodes(values, torch.arange(K).expand_as(values)), names)])
    shown = [float(codes.values[0, 0]) for codes in statistics.pictures.codes()]
    assert len(shown) == KEPT
    assert 0.4 < shown.count(1.0) / KEPT < 0.6


def test_size_is_bounded() -> None:
    statistics = collect([])
    for i in range(KEPT // 64 + 2):
        codes = SparseCodes(torch.rand(64, 40, 40, K), torch.arange(K).expand(64, 40, 40, K))
        statistics.add(FIRST, codes, [f"{i} {j}" for j in range(64)])
    tensors = statistics.pictures.tensors()
    assert tensors["picture_values"].shape == (KEPT * KEPT_TOKENS, K)
    large = tensors["picture_values"], tensors["picture_indices"]
    assert sum(tensor.numel() * tensor.element_size() for tensor in large) == K << 20  # k MiB
    for codes in statistics.pictures._pictures.values():
        assert codes.values.untyped_storage().nbytes() == KEPT_TOKENS * K * 2  # not a view of its batch


def test_tokens_of_a_large_map_are_taken_evenly() -> None:
    tokens = 4 * KEPT_TOKENS
    values = torch.linspace(0, 1, tokens).view(1, tokens, 1).expand(1, tokens, K)
    (found,) = collect([(FIRST, SparseCodes(values, torch.arange(K).expand_as(values)), ["a"])]).pictures.codes()
    torch.testing.assert_close(found.values[:, 0], torch.linspace(0, 1, KEPT_TOKENS), atol=1e-3, rtol=0)


def test_values_beyond_float16_are_its_largest() -> None:
    (found,) = kept(collect([(FIRST, codes_of([{1: 1e30, 2: 70000.0}]), ["a"])]))
    assert found == {1: 65504.0, 2: 65504.0}


@pytest.mark.parametrize("sigma", SIGMAS)
def test_another_number_of_names_adds_nothing(sigma: float) -> None:
    statistics = collect([])
    with pytest.raises(SaeuronError, match="2 images, but 1 names"):
        statistics.add(sigma, codes_of([{0: 1.0}], [{0: 1.0}]), ["a"])
    assert_same(statistics, collect([]))


def example(path: Path) -> ActivationStatistics:
    statistics = collect([(FIRST, picture(i, 1 + i), [f"{i}"]) for i in range(3)])
    statistics.save(path)
    return statistics


def test_file_gives_pictures_back(tmp_path: Path) -> None:
    statistics = example(tmp_path / "s.safetensors")
    loaded = ActivationStatistics.load(tmp_path / "s.safetensors")
    assert_same(loaded, statistics)
    loaded.add(FIRST, picture(7), ["7"])  # goes on where it stopped
    assert len(loaded.pictures) == 4


def test_file_without_pictures_is_one_of_before(tmp_path: Path) -> None:
    example(tmp_path / "s.safetensors").save(tmp_path / "sums", pictures=False)
    tensors, _ = read_safetensors(tmp_path / "sums")
    assert set(tensors) == {"total", "tokens", "fired_tokens", "fired_images", "images"}
    assert not len(ActivationStatistics.load(tmp_path / "sums").pictures)


def test_many_features_need_wider_indices(tmp_path: Path) -> None:
    sae = replace(SAE, n=40_000)
    statistics = ActivationStatistics(sae, SIGMAS)
    statistics.add(FIRST, SparseCodes(torch.ones(1, 1, K), torch.tensor([[[0, 32_768, 39_999]]])), ["a"])
    statistics.save(tmp_path / "s")
    assert ActivationStatistics.load(tmp_path / "s").pictures.codes()[0].indices.tolist() == [[0, 32_768, 39_999]]


def at(place: Any, value: Any) -> Any:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor[place] = value
        return tensor

    return change


DAMAGE = {
    "picture_keys": [
        lambda t: t.flip(0), lambda t: t[:2].clone(), lambda t: t.int(), at(0, -1), lambda t: t.view(1, -1),
        lambda t: torch.arange(10**6), lambda t: t[:0],
    ],
    "picture_tokens": [lambda t: t + 1, at(0, 0), at(0, -3), at(0, 10**15), lambda t: t.int()],
    "picture_values": [
        lambda t: t.float(), at((0, 0), float("nan")), at((0, 0), float("inf")), at((0, 0), -1),
        lambda t: t[:-1].clone(),
        lambda t: t[:, :-1].contiguous(), lambda t: t.flatten(),
    ],
    "picture_indices": [lambda t: t.int(), lambda t: t.long(), at((0, 0), N), at((0, 0), -1), lambda t: t[1:].clone()],
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_pictures_that_can_not_be_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.safetensors"
    for damage in [*DAMAGE[name], None]:
        example(path)
        tensors, metadata = read_safetensors(path)
        if damage is None:
            del tensors[name]
        else:
            tensors[name] = damage(tensors[name])
        save_file(tensors, path, metadata)
        with pytest.raises(SaeuronError, match=r"s\.safetensors"):
            ActivationStatistics.load(path)


def test_more_pictures_than_were_drawn_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    statistics = collect([(FIRST, picture(1), ["1"])])
    statistics.pictures = KeptPictures(SAE).merge(example(path).pictures)
    statistics.save(path)
    with pytest.raises(SaeuronError, match="contradict"):
        ActivationStatistics.load(path)
