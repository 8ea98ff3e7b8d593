from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.features.feature_set import FeatureSet
from saeuron.features.selection import SelectionSettings, score, select_features
from saeuron.features.statistics import ActivationStatistics
from saeuron.sae.model import SAEIdentity, SparseCodes

N = 6
SAE = SAEIdentity("ab" * 32, "sdxl-turbo", "up_blocks.0.attentions.1", "update", d=4, n=N, k=N)
SIGMAS = (10.0, 1.0)
Array = np.ndarray[Any, np.dtype[np.float64]]


def statistics_of(f: Array, concept: str = "") -> ActivationStatistics:
    """Statistics of dense activations [s, images, tokens, n]."""
    statistics = ActivationStatistics(SAE, SIGMAS, {"cfg": 1.0}, concept)
    for sigma, step in zip(SIGMAS, f, strict=True):
        values = torch.tensor(step, dtype=torch.float32)
        statistics.add(sigma, SparseCodes(values, torch.arange(N).expand_as(values)))
    return statistics


def random_activations(seed: int, images: int) -> Array:
    """[s, images, 5, n]; feature 0 belongs to even seeds, feature 1 fires everywhere, feature 2 never."""
    generator = np.random.default_rng(seed)
    f = np.maximum(generator.normal(size=(len(SIGMAS), images, 5, N)), 0)
    f[..., 0] *= 3 if seed % 2 == 0 else 0.1
    f[..., 1] += 1
    f[..., 2] = 0
    return f.astype(np.float32).astype(np.float64)


def means(f: Array, per_step: bool) -> Array:
    """mu [s, n] or [1, n]."""
    return f.mean((1, 2)) if per_step else f.mean((0, 1, 2))[None]


def plain_score(f_concept: Array, f_others: Array, per_step: bool) -> Array:
    """METHOD phase 1, written as it stands there."""
    steps = []
    for mu_c, mu_not_c in zip(means(f_concept, per_step), means(f_others, per_step), strict=True):
        steps.append([mu_c[i] / sum(mu_c) - mu_not_c[i] / sum(mu_not_c) for i in range(N)])
    return np.array(steps)


def plain_rates(f: Array, unit: str, per_step: bool) -> Array:
    fired = (f > 0).any(2) if unit == "image" else (f > 0).reshape(len(f), -1, N)
    return fired.mean(1) if per_step else fired.mean((0, 1))[None]


seeds = st.integers(0, 10_000)
everything = {"dead": 0.0, "overactive": 1.0}


@pytest.mark.parametrize("per_step", [False, True])
@settings(deadline=None, max_examples=40)
@given(seed=seeds, images=st.integers(1, 4))
def test_score_is_the_papers(per_step: bool, seed: int, images: int) -> None:
    f_concept, f_others = random_activations(2 * seed, images), random_activations(2 * seed + 1, 3)
    found = score(statistics_of(f_concept), statistics_of(f_others), per_step)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), plain_score(f_concept, f_others, per_step), rtol=1e-7, atol=1e-9)


def test_score_of_what_never_fires_is_finite() -> None:
    silent, loud = statistics_of(np.zeros((2, 1, 1, N))), statistics_of(np.ones((2, 1, 1, N)))
    assert score(silent, silent, per_step=True).tolist() == [[0.0] * N] * 2
    torch.testing.assert_close(score(loud, silent, per_step=False), torch.full((1, N), 1 / N, dtype=torch.float64))


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("unit", ["image", "token"])
@pytest.mark.parametrize("mean_all", ["prompts", "halves"])
@settings(deadline=None, max_examples=20)
@given(seed=seeds, overlap=st.sampled_from([1.0, 0.7, 0.1]))
def test_selection_is_the_methods(per_step: bool, unit: str, mean_all: str, seed: int, overlap: float) -> None:
    f_concept, f_others = random_activations(2 * seed, 4), random_activations(2 * seed + 1, 2)
    f_all = np.concatenate([f_concept, f_others], axis=1)
    limits = {"dead": 0.2, "overactive": 0.999}
    scores = plain_score(f_concept, f_others, per_step)
    rates = plain_rates(f_all, unit, per_step)
    mu_all = means(f_all, per_step)
    if mean_all == "halves":
        mu_all = (means(f_concept, per_step) + means(f_others, per_step)) / 2
    share_c, share_not_c = (
        mu / mu.sum(1, keepdims=True) for mu in (means(f_concept, per_step), means(f_others, per_step))
    )
    qualify = (rates >= 0.2) & (rates <= 0.999) & (scores > 0) & (share_not_c <= overlap * share_c)
    expected = [sorted(np.flatnonzero(qualify[t]), key=lambda i: -scores[t, i]) for t in range(len(scores))]
    tau = min(map(len, expected))
    wanted = SelectionSettings(
        tau=max(tau, 1), rate_unit=unit, per_step=per_step, mean_all=mean_all, overlap=overlap, **limits
    )
    concept, others = statistics_of(f_concept, "cats"), statistics_of(f_others)
    if tau == 0:
        with pytest.raises(SaeuronError, match="only 0 are left"):
            select_features(concept, others, wanted)
        return
    found = select_features(concept, others, wanted)
    assert [step.sigma for step in found.steps] == (list(SIGMAS) if per_step else [None])
    for t, step in enumerate(found.steps):
        assert [feature.index for feature in step.features] == expected[t][:tau]
        columns = {
            "score": scores,
            "mean_concept": means(f_concept, per_step),
            "mean_all": mu_all,
            "rate_concept": plain_rates(f_concept, unit, per_step),
            "rate_all": rates,
        }
        for name, table in columns.items():
            values = [getattr(feature, name) for feature in step.features]
            np.testing.assert_allclose(values, table[t, expected[t][:tau]], rtol=1e-7, atol=1e-9, err_msg=name)


def test_set_says_where_it_comes_from() -> None:
    wanted = SelectionSettings(tau=1, **everything)
    concept = statistics_of(random_activations(0, 3), "cats")
    others = statistics_of(random_activations(1, 3))
    others.sampling["cfg"] = 7.0
    found = select_features(concept, others, wanted)
    assert (found.concept, found.sae, found.sampling) == ("cats", SAE, {})
    assert SelectionSettings(**found.selection) == wanted
    assert FeatureSet.from_json(found.to_json()) == found


def one_image(*activations: float) -> Array:
    """The same activations at every step of one image with one token."""
    return np.tile(np.array(activations, dtype=np.float64), (len(SIGMAS), 1, 1, 1))


def chosen(concept: Array, others: Array, **changes: Any) -> list[int]:
    wanted = SelectionSettings(**{"dead": 0.0, "overactive": 1.0, **changes})
    (step,) = select_features(statistics_of(concept), statistics_of(others), wanted).steps
    return [feature.index for feature in step.features]


def test_of_equal_scores_the_lower_index_wins() -> None:
    concept, others = one_image(0, 2, 1, 2, 2, 0), one_image(1, 0, 0, 0, 0, 1)
    for tau in (1, 2, 3):
        assert chosen(concept, others, tau=tau) == [1, 3, 4][:tau]


def test_score_counts_and_not_the_mean() -> None:
    # feature 0 is by far the strongest, in both; feature 1 is weak and the concept's own
    assert chosen(one_image(10, 1, 0, 0, 0, 0), one_image(10, 0, 0, 0, 0, 0.5), tau=1) == [1]


def test_features_that_fire_no_more_for_the_concept_do_not_qualify() -> None:
    concept, others = one_image(1, 1, 0, 0, 0, 0), one_image(1, 0, 1, 0, 0, 0)
    with pytest.raises(SaeuronError, match=r"2 features, but only 1 are left: 1 of 6 fire more"):
        chosen(concept, others, tau=2)
    with pytest.raises(SaeuronError, match="only 0 are left"):
        chosen(concept, concept, tau=1)


def test_dead_and_overactive_are_measured_on_both_sets_together() -> None:
    # Feature 0 fires on all 2 + 2 images, 1 on the concept's 2, 2 on one of the concept's.
    concept = np.concatenate([one_image(2, 2, 2, 0, 0, 0), one_image(2, 2, 0, 0, 0, 0)], axis=1)
    others = np.concatenate([one_image(1, 0, 0, 9, 0, 0)] * 2, axis=1)
    assert chosen(concept, others, tau=3) == [1, 0, 2]
    assert chosen(concept, others, tau=2, overactive=0.99) == [1, 2]
    assert chosen(concept, others, tau=2, dead=0.5) == [1, 0]  # 0.5 itself is not dead
    assert chosen(concept, others, tau=1, dead=0.26, overactive=0.5) == [1]


def test_rate_per_image_keeps_what_the_rate_per_token_calls_dead() -> None:
    rare = np.zeros((2, 2, 200, N))
    rare[:, :, 0, 1] = 1.0  # on one token of 200, in every image
    others = np.zeros((2, 1, 200, N))
    others[..., 5] = 1.0
    assert chosen(rare, others, tau=1, dead=0.01, rate_unit="image") == [1]
    with pytest.raises(SaeuronError, match="of tokens"):
        chosen(rare, others, tau=1, dead=0.01, rate_unit="token")


def test_per_step_error_names_the_step() -> None:
    concept, others = one_image(1, 1, 0, 0, 0, 0), one_image(0, 0, 1, 0, 0, 0)
    concept[1] = others[1]
    with pytest.raises(SaeuronError, match="at sigma 1:"):
        chosen(concept, others, tau=2, per_step=True)


@pytest.mark.parametrize(("empty", "name"), [("concept", "concept's"), ("others", "other")])
def test_no_prompts(empty: str, name: str) -> None:
    both = {which: statistics_of(random_activations(0, 1)) for which in ("concept", "others")}
    both[empty] = ActivationStatistics(SAE, SIGMAS)
    with pytest.raises(SaeuronError, match=f"The {name} statistics hold no prompts"):
        select_features(both["concept"], both["others"], SelectionSettings())


def test_statistics_that_can_not_be_compared() -> None:
    concept = statistics_of(random_activations(0, 1))
    with pytest.raises(SaeuronError, match="different SAEs"):
        select_features(concept, ActivationStatistics(replace(SAE, sha256="cd"), SIGMAS), SelectionSettings())
    with pytest.raises(SaeuronError, match="different schedules"):
        select_features(concept, ActivationStatistics(SAE, (10.0, 2.0)), SelectionSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"tau": 0},
        {"dead": -0.1},
        {"dead": float("nan")},
        {"overactive": 1.1},
        {"dead": 0.6, "overactive": 0.5},
        {"rate_unit": "pixel"},
        {"mean_all": "median"},
        {"overlap": 1.1},
        {"overlap": float("nan")},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(SaeuronError):
        SelectionSettings(**wrong)
