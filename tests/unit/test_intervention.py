"""Each mode and rule against METHOD's formula, written out in float64; and that nothing selected changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuron.edits.apply import apply_edits
from saeuron.edits.call import Call, Row
from saeuron.edits.intervention import MODES, RULES, FeatureEdit, Intervention, intervene, may_change
from saeuron.edits.when import When
from saeuron.errors import SaeuronError
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.sae.model import SAEIdentity
from support.reference import dense_codes, dense_decode, random_sae

D, N, K = 12, 40, 6
IDENTITY = SAEIdentity("", "sdxl-turbo", "up_blocks.0.attentions.1", "update", D, N, K)


def feature_set(features, concept="cats", sigma=None):
    return FeatureSet(
        concept=concept, sae=IDENTITY, sampling={}, selection={}, steps=(FeatureStep(sigma, tuple(features)),)
    )


def with_means(*indices, mean_concept=0.4, mean_all=0.05):
    return feature_set([Feature(i, score=0.1, mean_concept=mean_concept, mean_all=mean_all) for i in indices])


def block(seed, shape=(2, 3, 5), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, D, generator=generator).to(dtype) for _ in range(2))


def formula(sae, kind, mode, rule, multiplier, features, block_input, block_output):
    """METHOD phase 3 in float64."""
    out = block_output.double()
    x = out if kind == "output" or mode == "seed" else out - block_input.double()
    f = dense_codes(sae, x)
    edited = f.clone()
    for feature in features:
        i = feature.index
        factor = {"gamma-mu": multiplier * (feature.mean_concept or 0), "gamma": multiplier}.get(rule, 0.0)
        edited[..., i] = torch.where(f[..., i] > (feature.mean_all or 0), factor * f[..., i], f[..., i])
    if rule == "relative":
        mu = torch.tensor([feature.mean_concept for feature in features], dtype=torch.float64)
        rows, thresholds = [feature.index for feature in features], torch.tensor([f.mean_all for f in features])
        weighted = torch.where(f[..., rows] > thresholds, mu * f[..., rows], 0.0)
        push = weighted @ sae.decoder.weight.double()[rows]
        firing = (weighted.sum(-1, keepdim=True) / (mu * mu).sum()).clamp(max=1)
        length = firing * x.norm(dim=-1, keepdim=True)
        return out + multiplier / 100 * 4 * length * torch.nn.functional.normalize(push, dim=-1)
    if mode == "exact":
        return out + (edited - f) @ sae.decoder.weight.double()
    if mode == "seed":
        return dense_decode(sae, edited)
    replaced = dense_decode(sae, edited) + (dense_decode(sae, f) - x)
    return out - x + replaced


@pytest.mark.parametrize("kind", ["update", "output"])
@pytest.mark.parametrize(("mode", "rule"), [(m, r) for m in MODES for r in RULES if r != "relative" or m == "exact"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), multiplier=st.floats(-30, 5))
def test_every_mode_and_rule_is_its_formula(kind, mode, rule, seed, multiplier):
    sae = random_sae(D, N, K, seed)
    block_input, block_output = block(seed)
    chosen = with_means(1, 5, 17, 30)
    intervention = Intervention(chosen, multiplier, mode, rule)
    result = intervene(sae, kind, [intervention], 1.0, block_input, block_output)
    expected = formula(sae, kind, mode, rule, multiplier, chosen.steps[0].features, block_input, block_output)
    assert torch.allclose(result.double(), expected, rtol=1e-4, atol=1e-4)


def test_an_edit_that_touches_some_tokens_keeps_the_others_bit_for_bit():
    sae = random_sae(D, N, K, 1)
    block_input, block_output = block(1, (4, 8, 8), torch.float16)
    result = intervene(sae, "update", [Intervention(with_means(3), -20)], 1.0, block_input, block_output)
    fires = dense_codes(sae, block_output.float() - block_input.float())[..., 3] > 0.05
    assert 0 < fires.sum() < fires.numel()
    assert torch.equal(result[~fires], block_output[~fires])
    assert (result[fires] != block_output[fires]).any(-1).all()
    assert result.dtype == torch.float16


@pytest.mark.parametrize(
    "intervention",
    [
        Intervention(with_means(3), 1.0, rule="gamma"),
        Intervention(with_means(3, mean_all=1e9), -20.0),
        Intervention(feature_set([]), -20.0),
        Intervention(with_means(3), -20.0, when=When(sigma_start=0.5)),
        Intervention(with_means(3), -20.0, when=When(sigma_end=2.0)),
        Intervention(with_means(3), -20.0, "seed", when=When(sigma_end=2.0)),
        Intervention(with_means(3), -20.0, "saeuron-code", when=When(sigma_end=2.0)),
    ],
    ids=["factor 1", "never above threshold", "no features", "before start", "after end", "seed off", "code off"],
)
def test_where_nothing_is_to_be_done_the_output_itself_comes_back(intervention):
    sae = random_sae(D, N, K, 2)
    block_input, block_output = block(2)
    call = Call(1.0, 0, (Row(),) * len(block_output))
    assert apply_edits(sae, "update", [intervention], call, block_input, block_output) is block_output


def test_the_input_is_never_written_to():
    sae = random_sae(D, N, K, 3)
    block_input, block_output = block(3)
    copies = block_input.clone(), block_output.clone()
    for mode in MODES:
        intervene(sae, "update", [Intervention(with_means(3, 4), -20.0, mode)], 1.0, block_input, block_output)
    assert torch.equal(block_input, copies[0]) and torch.equal(block_output, copies[1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(3)))
def test_concepts_at_one_hookpoint_add_up_in_any_order(seed, order):
    sae = random_sae(D, N, K, seed)
    block_input, block_output = block(seed)
    several = [Intervention(with_means(*indices), -10.0) for indices in ((1, 2), (8,), (20, 31, 33))]
    together = intervene(sae, "update", [several[i] for i in order], 1.0, block_input, block_output)
    union = Intervention(with_means(1, 2, 8, 20, 31, 33), -10.0)
    assert torch.equal(together, intervene(sae, "update", [union], 1.0, block_input, block_output))


def test_two_removals_of_one_feature_do_not_turn_into_an_amplification():
    sae = random_sae(D, N, K, 4)
    block_input, block_output = block(4)
    weak, strong = Intervention(with_means(3), -5.0), Intervention(with_means(3), -20.0)
    expected = intervene(sae, "update", [strong], 1.0, block_input, block_output)
    assert torch.equal(intervene(sae, "update", [weak, strong], 1.0, block_input, block_output), expected)
    assert torch.equal(intervene(sae, "update", [strong, weak, strong], 1.0, block_input, block_output), expected)


def test_features_of_each_step_are_chosen_by_the_nearest_sigma():
    steps = tuple(
        FeatureStep(sigma, (Feature(i, mean_concept=0.4, mean_all=0.0),)) for sigma, i in ((14.6, 3), (1.6, 9))
    )
    per_step = FeatureSet(concept="cats", sae=IDENTITY, sampling={}, selection={}, steps=steps)
    sae = random_sae(D, N, K, 5)
    block_input, block_output = block(5)
    for sigma, index in ((14.6, 3), (10.0, 3), (1.6, 9), (0.1, 9)):
        expected = intervene(
            sae, "update", [Intervention(with_means(index, mean_all=0.0), -20.0)], sigma, block_input, block_output
        )
        assert torch.equal(
            intervene(sae, "update", [Intervention(per_step, -20.0)], sigma, block_input, block_output), expected
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), units=st.sampled_from([1e-3, 0.1, 50.0]))
def test_the_relative_rule_does_the_same_whatever_units_codes_are_in(seed, units):
    sae, other = random_sae(D, N, K, seed), random_sae(D, N, K, seed)
    with torch.no_grad():
        other.encoder.weight *= units
        other.encoder.bias *= units
        other.decoder.weight /= units
    block_input, block_output = block(seed)
    results = [
        intervene(
            own,
            "update",
            [Intervention(with_means(1, 5, 17, mean_concept=0.4 * unit, mean_all=0.05 * unit), -50.0, rule="relative")],
            1.0,
            block_input,
            block_output,
        )
        for own, unit in ((sae, 1.0), (other, units))
    ]
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_several_relative_ones_add_up_and_0_is_off():
    sae, (block_input, block_output) = random_sae(D, N, K, 7), block(7)
    both = [Intervention(with_means(i), multiplier, rule="relative") for i, multiplier in ((1, -30.0), (8, -60.0))]
    together = intervene(sae, "update", both, 1.0, block_input, block_output)
    alone = [intervene(sae, "update", [one], 1.0, block_input, block_output) - block_output for one in both]
    torch.testing.assert_close(together, block_output + sum(alone), rtol=1e-4, atol=1e-4)
    assert torch.equal(together, intervene(sae, "update", both[::-1], 1.0, block_input, block_output))
    off = Intervention(with_means(1), 0.0, rule="relative")
    assert intervene(sae, "update", [off], 1.0, block_input, block_output) is block_output
    with pytest.raises(SaeuronError, match="relative is for the mode exact"):
        Intervention(with_means(1), -50.0, "seed", "relative")


def test_a_set_without_means_works_only_with_rules_that_need_none():
    indices_only = feature_set([Feature(3), Feature(9)])
    with pytest.raises(SaeuronError, match="gamma-mu needs"):
        Intervention(indices_only, -20.0)
    sae = random_sae(D, N, K, 6)
    block_input, block_output = block(6)
    result = intervene(sae, "update", [Intervention(indices_only, -3.0, rule="gamma")], 1.0, block_input, block_output)
    expected = formula(sae, "update", "exact", "gamma", -3.0, indices_only.steps[0].features, block_input, block_output)
    assert torch.allclose(result.double(), expected, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_that_leaves_the_dtype_s_range_stops_with_the_reason(mode):
    sae = random_sae(D, N, K, 7)
    block_input, block_output = block(7, dtype=torch.float16)
    with pytest.raises(SaeuronError, match=r"not finite.*multiplier closer to 0"):
        intervene(
            sae,
            "update",
            [Intervention(with_means(*range(N), mean_all=0.0), -1e6, mode)],
            1.0,
            block_input,
            block_output,
        )


@pytest.mark.parametrize(
    "change",
    [{"mode": "x"}, {"rule": "x"}, {"multiplier": float("nan")}, {"multiplier": float("-inf")}],
)
def test_senseless_interventions_are_refused(change):
    with pytest.raises(SaeuronError):
        Intervention(**{"feature_set": with_means(3), "multiplier": -1.0, **change})


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-4, 1.0, 1e4]), threshold=st.sampled_from([0.0, 0.3, 2.0]))
@settings(max_examples=60, deadline=None)
def test_no_token_that_the_formula_changes_is_passed_over(seed, scale, threshold):
    sae, x = random_sae(D, N, K, seed % 97), block(seed, (200,))[0] * scale
    features = torch.randperm(N, generator=torch.Generator().manual_seed(seed))[:3]
    edit = FeatureEdit(features, torch.full((3,), -2.0), torch.full((3,), threshold * scale))
    changed = (dense_codes(sae, x)[..., features] > threshold * scale).any(-1)
    assert (may_change(sae, edit, x) >= changed).all()


def test_tokens_on_which_no_feature_can_fire_are_not_encoded():
    sae, x = random_sae(D, N, K, 0), block(0, (200,))[0]
    features = torch.tensor([3])
    edit = FeatureEdit(features, torch.tensor([-2.0]), torch.tensor([0.5]))
    fires = dense_codes(sae, x)[..., 3] > 0.5
    seen = may_change(sae, edit, x)
    assert fires.sum() <= seen.sum() < len(x) / 2
