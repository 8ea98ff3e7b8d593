"""CASteer and NAG against their formulas, written out number by number in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tools.evaluation.rivals.casteer import Means, positive_rows, removal, steered, steering_vector, vectors_of
from tools.evaluation.rivals.nag import guided
from tools.evaluation.treatment import OFF, Edit, Treatment


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_a_steering_vector_is_the_unit_difference_of_means():
    with_concept, without = numbers(3, 5, 4), numbers(3, 5, 4, seed=1)
    expected = np.array([[(a - b) for a, b in zip(x, y, strict=True)] for x, y in zip(
        with_concept.reshape(15, 4).numpy(), without.reshape(15, 4).numpy(), strict=True)]).mean(0)  # fmt: skip
    expected /= np.sqrt((expected**2).sum())
    assert steering_vector(with_concept, without).numpy() == pytest.approx(expected, abs=1e-14)
    assert steering_vector(without, without).tolist() == [0] * 4


def test_removal_token_by_token():
    output, vector = numbers(2, 6, 4), torch.nn.functional.normalize(numbers(4, seed=2), dim=0)
    for beta in (1.0, 2.0, 4.0):
        found = steered(output, vector, beta)
        for token, edited in zip(output.reshape(-1, 4), found.reshape(-1, 4), strict=True):
            amount = max(beta * sum(float(a) * float(b) for a, b in zip(token, vector, strict=True)), 0.0)
            expected = [float(t) - amount * float(v) for t, v in zip(token, vector, strict=True)]
            assert edited.tolist() == pytest.approx(expected)
    twice = steered(output, vector, 2.0)
    assert twice.norm(dim=-1).numpy() == pytest.approx(output.norm(dim=-1).numpy()), "beta 2 reflects: lengths stay"
    assert torch.equal(twice[output @ vector <= 0], output[output @ vector <= 0]), "without the concept nothing is done"


def test_guidance_token_by_token():
    positive = numbers(2, 6, 4)
    negative = positive + 0.3 * numbers(2, 6, 4, seed=1)
    phi, tau, alpha = 5.0, 2.5, 0.25
    found = guided(positive, negative, phi, tau, alpha).reshape(-1, 4)
    ratios = []
    for p, n, edited in zip(positive.reshape(-1, 4).numpy(), negative.reshape(-1, 4).numpy(), found, strict=True):
        extrapolated = p + phi * (p - n)
        ratios.append(np.abs(extrapolated).sum() / np.abs(p).sum())
        normalised = min(ratios[-1], tau) / ratios[-1] * extrapolated
        assert edited.numpy() == pytest.approx(alpha * normalised + (1 - alpha) * p, abs=1e-13)
    assert min(ratios) < tau < max(ratios), "some tokens are within tau, some beyond"
    assert torch.equal(guided(positive, positive, phi), positive), "the same answer to both changes nothing"
    assert torch.isfinite(guided(torch.zeros(1, 4), torch.zeros(1, 4), phi)).all()


def options(sigma, chunks=(0,), block=("output", 3)):
    return {"block": block, "block_index": 0, "sigmas": torch.tensor([sigma]), "cond_or_uncond": list(chunks)}


def test_means_are_kept_for_each_layer_and_step_and_only_of_the_positive_half():
    means, without = Means(), Means()
    first, second, guided_batch = numbers(2, 5, 4), numbers(1, 5, 4, seed=1), numbers(2, 5, 4, seed=2)
    for output, sigma in ((first, 9.0), (second, 9.0), (first, 1.0)):
        assert means.add(output, options(sigma)) is output
    expected = torch.cat([first, second]).flatten(0, 1).mean(0)
    assert torch.allclose(means.mean(((("output", 3), 0), 9.0)), expected, atol=1e-14)
    without.add(guided_batch, options(9.0, (1, 0)))
    without.add(second, options(1.0))
    assert torch.allclose(without.mean(((("output", 3), 0), 9.0)), guided_batch[1].mean(0), atol=1e-14)
    (steps,) = vectors_of(means, without).values()
    assert [sigma for sigma, _ in steps] == [9.0, 1.0]
    assert all(vector.norm() == pytest.approx(1) for _, vector in steps)


def test_the_nearest_step_s_vector_acts_and_the_negative_half_stays():
    axes = torch.eye(4, dtype=torch.float64)
    patch = removal({(("output", 3), 0): [(9.0, axes[0]), (1.0, axes[1])]}, 1.0)
    output = torch.ones(2, 5, 4)
    assert patch(output, options(8.0))[0, 0].tolist() == [0, 1, 1, 1]
    assert patch(output, options(1.5))[0, 0].tolist() == [1, 0, 1, 1]
    half = patch(output, options(1.0, (1, 0)))
    assert torch.equal(half[0], output[0]) and half[1, 0].tolist() == [1, 0, 1, 1]


def test_positive_rows():
    assert positive_rows(torch.zeros(6, 1), {"cond_or_uncond": [0]}) == [0, 1, 2, 3, 4, 5]
    assert positive_rows(torch.zeros(6, 1), {"cond_or_uncond": [1, 0]}) == [3, 4, 5]
    assert positive_rows(torch.zeros(6, 1), {"cond_or_uncond": [0, 1, 0]}) == [0, 1, 4, 5]


def test_edits_act_one_after_the_other_and_are_all_in_the_key():
    edits = [Edit({"number": n}, lambda parts, n=n: (*parts[0], n)) for n in (1, 2)]
    treatment = Treatment(tuple(edits), negative="x")
    assert treatment.model(((), None, None)) == (1, 2)
    assert treatment.key() == {"edits": [{"number": 1}, {"number": 2}], "cfg": 1.0, "not": "x"}
    assert OFF.model(("MODEL", None, None)) == "MODEL"
