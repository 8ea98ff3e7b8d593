from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.features.statistics import ActivationStatistics
from saeuron.sae.model import SparseCodes
from support.codes import SAE, SIGMAS, TENSORS, K, N, assert_same, codes_of, collect

# Any activation float32 has, from below the smallest normal number up to where sums stay below the exact range.
activations = st.floats(0, 1000, width=32) | st.sampled_from([0.0, 1e-40, 1e-8, 1 / 3])
distinct_features = st.sampled_from(list(permutations(range(N), K)))


@st.composite
def batches(draw: st.DrawFn) -> tuple[float, SparseCodes]:
    sigma = draw(st.sampled_from(SIGMAS))
    images, rows, columns = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    size = images * rows * columns
    values = draw(st.lists(activations, min_size=size * K, max_size=size * K))
    indices = draw(st.lists(distinct_features, min_size=size, max_size=size))
    shape = (images, rows, columns, K)
    return sigma, SparseCodes(torch.tensor(values).view(shape), torch.tensor(indices).view(shape))


def dense(codes: SparseCodes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[images, tokens, n] float64."""
    values, indices = codes.values.double().numpy(), codes.indices.numpy()
    f = np.zeros((*values.shape[:-1], N))
    np.put_along_axis(f, indices, values, axis=-1)
    return f.reshape(len(values), -1, N)


@settings(deadline=None)
@given(st.lists(batches(), min_size=1, max_size=6))
def test_means_and_rates_are_those_of_dense_codes(parts: list[tuple[float, SparseCodes]]) -> None:
    statistics = collect(parts)
    seen = {sigma: [dense(codes) for at, codes in parts if at == sigma] for sigma in SIGMAS}
    every = [f for step in seen.values() for f in step]

    def expected(f: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        by_token = np.concatenate([batch.reshape(-1, N) for batch in f])
        by_image = np.concatenate([(batch > 0).any(1) for batch in f])
        return [by_token.mean(0), (by_token > 0).mean(0), by_image.mean(0)]

    def found(per_step: bool, step: int) -> list[np.ndarray[Any, Any]]:
        tables = [statistics.mean(per_step), *(statistics.firing_rate(unit, per_step) for unit in ("token", "image"))]
        assert {table.shape for table in tables} == {(len(SIGMAS) if per_step else 1, N)}
        return [table[step].numpy() for table in tables]

    np.testing.assert_allclose(found(False, 0), expected(every), rtol=1e-12, atol=1e-9)
    if all(seen.values()):
        for step, sigma in enumerate(SIGMAS):
            np.testing.assert_allclose(found(True, step), expected(seen[sigma]), rtol=1e-12, atol=1e-9)


@settings(deadline=None)
@given(st.lists(batches(), min_size=1, max_size=8), st.data())
def test_shards_in_any_order_give_one_pass_exactly(parts: list[tuple[float, SparseCodes]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(parts))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(parts)), max_size=3)))
    shards = [collect(shuffled[a:b]) for a, b in zip([0, *cuts], [*cuts, len(parts)], strict=True)]
    assert_same(ActivationStatistics.merged(shards), collect(parts))


def test_many_uneven_activations_sum_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.exp(4 * torch.randn(1, 20_000, K, generator=generator) - 8)
    codes = SparseCodes(values, torch.arange(K).expand_as(values))
    forward, backward = collect([(3.0, codes)]), collect([(3.0, SparseCodes(values.flip(1), codes.indices))])
    assert_same(forward, backward)
    # The test would mean nothing if plain float64 sums agreed too.
    assert not torch.equal(values.double().cumsum(1)[0, -1], values.double().flip(1).cumsum(1)[0, -1])


def test_counts_of_a_small_example() -> None:
    statistics = collect([(0.5, codes_of([{0: 1.0, 1: 2.0}, {0: 3.0}], [{1: 0.5}, {}]))])
    step = statistics.step_of(0.5)
    assert statistics.total[step].tolist() == [4.0, 2.5, 0, 0, 0, 0, 0]
    assert statistics.fired_tokens[step].tolist() == [2, 2, 0, 0, 0, 0, 0]
    assert statistics.fired_images[step].tolist() == [1, 2, 0, 0, 0, 0, 0]
    assert (int(statistics.tokens[step]), int(statistics.images[step])) == (4, 2)
    assert statistics.prompts == 0  # nothing was seen at the first step
    assert statistics.firing_rate("image", per_step=False).tolist() == [[0.5, 1.0, 0, 0, 0, 0, 0]]
    assert statistics.firing_rate("token", per_step=False).tolist() == [[0.5, 0.5, 0, 0, 0, 0, 0]]


def test_size_does_not_grow() -> None:
    statistics = collect([])
    before = {name: getattr(statistics, name).shape for name in TENSORS}
    for _ in range(20):
        statistics.add(3.0, codes_of([{1: 1.0}] * 5))
    assert {name: getattr(statistics, name).shape for name in TENSORS} == before
    assert all(getattr(statistics, name).device.type == "cpu" for name in TENSORS)


@pytest.mark.parametrize(
    ("sigma", "step"),
    [(14.6, 0), (100, 0), (7.0, 0), (6.0, 1), (3.0, 1), (1.5, 1), (1.2, 2), (0.5, 2), (1e-6, 2)],
)
def test_step_is_the_nearest_by_ratio(sigma: float, step: int) -> None:
    statistics = collect([(sigma, codes_of([{0: 1.0}]))])
    assert statistics.step_of(sigma) == step
    assert statistics.images.nonzero().tolist() == [[step]]


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_sigma_must_be_a_noise_level(sigma: float) -> None:
    statistics = collect([])
    with pytest.raises(SaeuronError, match="noise level"):
        statistics.add(sigma, codes_of([{0: 1.0}]))
    assert_same(statistics, collect([]))


@pytest.mark.parametrize(
    "sigmas", [(), (1.0, 1.0), (1.0, 2.0), (1.0, 0.0), (float("nan"),), (float("inf"), 1.0), ("1",)]
)
def test_schedule_must_descend(sigmas: tuple[Any, ...]) -> None:
    with pytest.raises(SaeuronError, match="sigma"):
        ActivationStatistics(SAE, sigmas)


@pytest.mark.parametrize(
    ("values", "indices", "message"),
    [
        ([[1.0, float("nan"), 0.0]], [[0, 1, 2]], "not finite"),
        ([[1.0, float("inf"), 0.0]], [[0, 1, 2]], "not finite"),
        ([[1.0, -1.0, 0.0]], [[0, 1, 2]], "negative"),
        ([[1.0, 1.0, 1.0]], [[0, 1, N]], "outside 0 to 6"),
        ([[1.0, 1.0, 0.0]], [[0, 1, -1]], "outside 0 to 6"),
        ([[1.0, 1.0]], [[0, 1]], r"\[1, 2\]"),
        ([1.0, 1.0, 1.0], [0, 1, 2], r"\[3\]"),
        ([[1.0, 1.0, 1.0]], [[0, 1, 2], [0, 1, 2]], r"\[1, 3\] and \[2, 3\]"),
    ],
)
def test_bad_codes_add_nothing(values: Any, indices: Any, message: str) -> None:
    statistics = collect([])
    with pytest.raises(SaeuronError, match=message):
        statistics.add(3.0, SparseCodes(torch.tensor(values), torch.tensor(indices)))
    assert_same(statistics, collect([]))


def test_no_codes_at_all_are_refused() -> None:
    with pytest.raises(SaeuronError, match=r"\[0, 5, 3\]"):
        collect([(3.0, SparseCodes(torch.zeros(0, 5, K), torch.zeros(0, 5, K, dtype=torch.int64)))])


def test_codes_that_need_a_gradient_are_only_read() -> None:
    codes = codes_of([{0: 1.5}])
    statistics = collect([(3.0, SparseCodes(codes.values.requires_grad_(), codes.indices))])
    assert not statistics.total.requires_grad
    assert statistics.total[1, 0] == 1.5


def test_merge_leaves_its_parts_alone() -> None:
    a, b = collect([(3.0, codes_of([{0: 1.0}]))]), collect([(3.0, codes_of([{0: 2.0}]))])
    for together in (a.merge(b), ActivationStatistics.merged([a])):
        together.add(3.0, codes_of([{0: 4.0}]))
    assert (float(a.total[1, 0]), float(b.total[1, 0])) == (1.0, 2.0)


def test_merge_keeps_what_both_agree_on() -> None:
    a = ActivationStatistics(SAE, SIGMAS, {"cfg": 1.0, "seed": 1, "note": None}, "cats")
    b = ActivationStatistics(SAE, SIGMAS, {"cfg": 1.0, "seed": 2, "steps": 3}, "cats")
    for together in (a.merge(b), ActivationStatistics.merged([a, b])):
        assert (together.sampling, together.concept) == ({"cfg": 1.0}, "cats")
    assert a.merge(ActivationStatistics(SAE, SIGMAS, concept="dogs")).concept == ""


@pytest.mark.parametrize("change", [{"sha256": "cd" * 32}, {"hookpoint": "mid_block.attentions.0"}, {"n": N + 1}])
def test_another_sae_is_refused_and_both_are_named(change: dict[str, Any]) -> None:
    other = ActivationStatistics(replace(SAE, **change), SIGMAS)
    with pytest.raises(SaeuronError) as caught:
        collect([]).merge(other)
    assert SAE.describe() in str(caught.value)
    assert other.sae.describe() in str(caught.value)


@pytest.mark.parametrize("sigmas", [(14.6, 3.0), (14.6, 3.0, 0.6), (14.6, 3.001, 0.5), (20.0, 14.6, 3.0, 0.5)])
def test_another_schedule_is_refused_and_both_are_named(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(SaeuronError) as caught:
        collect([]).merge(ActivationStatistics(SAE, sigmas))
    assert "14.6, 3, 0.5" in str(caught.value)
    assert ", ".join(f"{sigma:.4g}" for sigma in sigmas) in str(caught.value)


def test_schedules_of_two_devices_are_the_same() -> None:
    nearly = [sigma * (1 + 1e-6) for sigma in SIGMAS]
    assert collect([]).merge(ActivationStatistics(SAE, nearly)).sigmas == SIGMAS


def test_nothing_to_merge() -> None:
    with pytest.raises(SaeuronError, match="no statistics"):
        ActivationStatistics.merged([])


def test_a_step_without_tokens_has_no_mean() -> None:
    statistics = collect([(14.6, codes_of([{0: 1.0}])), (3.0, codes_of([{0: 1.0}]))])
    assert statistics.mean(per_step=False)[0, 0] == 1.0
    for table in (statistics.mean, lambda per_step: statistics.firing_rate("image", per_step)):
        with pytest.raises(SaeuronError, match=r"step 2 \(sigma 0\.5\)"):
            table(per_step=True)
    with pytest.raises(SaeuronError, match="No activations"):
        collect([]).mean(per_step=False)


def test_unknown_unit() -> None:
    with pytest.raises(SaeuronError, match="image or token"):
        collect([]).firing_rate("pixel", per_step=False)
