"""Steering against its formula in float64, and what people type for it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuron.edits.apply import apply_edits
from saeuron.edits.call import Call, Row
from saeuron.edits.steering import Steering, parse_strengths, steer
from saeuron.edits.when import When
from saeuron.errors import SaeuronError
from support.reference import random_sae

D, N, K = 12, 40, 6


def block(seed, shape=(2, 3, 5), dtype=torch.float32):
    return torch.randn(*shape, D, generator=torch.Generator().manual_seed(seed)).to(dtype)


def formula(sae, strengths, weights, output):
    added = sum(strength * sae.decoder.weight[index].double() for index, strength in strengths)
    return output.double() + weights.double() * added


def rows(*pictures):
    """A call about these pictures, and all of its rows."""
    call = Call(1.0, 0, tuple(Row("positive", picture, None, True) for picture in pictures))
    return call, range(len(pictures))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), first=st.floats(-40, 40), second=st.floats(-40, 40))
def test_it_is_its_formula(seed, first, second):
    sae, output = random_sae(D, N, K, seed), block(seed)
    strengths = ((3, first), (39, second))
    result = steer(sae, [Steering(strengths)], *rows(0, 1), output)
    assert torch.allclose(result.double(), formula(sae, strengths, torch.ones(1), output), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_strength_0_and_other_steps_give_the_very_same_tensor(dtype):
    sae, output = random_sae(D, N, K, 0), block(0, dtype=dtype)
    for steering in (
        Steering(((3, 0.0), (4, -0.0))),
        Steering(((3, 5.0),), When(sigma_start=0.5)),
        Steering(((3, 5.0),), When(sigma_end=2.0)),
    ):
        assert apply_edits(sae, "update", [steering], rows(0, 1)[0], output, output) is output
    assert steer(sae, [Steering(((3, 5.0),))], *rows(0, 1), output).dtype == dtype


def test_strengths_of_several_add_up():
    sae, output = random_sae(D, N, K, 1), block(1)
    together = steer(sae, [Steering(((3, 5.0),)), Steering(((3, -2.0), (7, 1.0)))], *rows(0, 1), output)
    assert torch.allclose(together, steer(sae, [Steering(((3, 3.0), (7, 1.0)))], *rows(0, 1), output), atol=1e-5)


def test_a_mask_acts_by_its_mean_over_each_token_and_leaves_the_rest_alone():
    sae, output = random_sae(D, N, K, 2), block(2, (1, 2, 3))
    mask = torch.zeros(1, 64, 96)
    mask[:, :32, :32] = 1  # the first token
    mask[:, 32:48, 64:] = 1  # half of the last one
    result = steer(sae, [Steering(((5, 8.0),), region=mask)], *rows(0), output)
    weights = torch.tensor([[1.0, 0, 0], [0, 0, 0.5]]).view(1, 2, 3, 1)
    assert torch.allclose(result.double(), formula(sae, ((5, 8.0),), weights, output), atol=1e-5)
    assert torch.equal(result[0, 0, 1:], output[0, 0, 1:]) and torch.equal(result[0, 1, :2], output[0, 1, :2])


def test_each_picture_of_a_batch_takes_its_mask():
    sae, output = random_sae(D, N, K, 3), block(3, (4, 2, 2))
    masks = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    result = steer(sae, [Steering(((5, 8.0),), region=masks)], *rows(0, 1, 0, 1), output)
    changed = [not torch.equal(a, b) for a, b in zip(result, output, strict=True)]
    assert changed == [False, True, False, True]


def test_what_can_not_be():
    with pytest.raises(SaeuronError, match="listed twice"):
        Steering(((3, 1.0), (3, 2.0)))
    with pytest.raises(SaeuronError, match="finite"):
        Steering(((3, float("nan")),))
    with pytest.raises(SaeuronError, match="Unknown halves"):
        When(halves="left")
    with pytest.raises(SaeuronError, match="masks, height, width"):
        Steering(((3, 1.0),), region=torch.ones(8, 8))
    with pytest.raises(SaeuronError, match=r"no feature 40: .* 0 to 39"):
        Steering(((40, 1.0),)).check_features(N)
    with pytest.raises(SaeuronError, match="not finite"):
        steer(random_sae(D, N, K, 4), [Steering(((3, 1e38), (4, 1e38)))], *rows(0, 1), block(4, dtype=torch.float16))


def test_typed_strengths():
    text = "\n 12: 4\n# all of it\n7 : -3.5  # less fur\n 0:1e1"
    assert parse_strengths(text) == ((12, 4.0), (7, -3.5), (0, 10.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "List 1 to 1000"),
        ("# nothing", "List 1 to 1000"),
        ("12", "Line 1, '12'"),
        ("1: 2\n-3: 4", "Line 2"),
        ("3: much", "Line 1"),
        ("3: nan", "Line 1"),
        ("3: inf", "Line 1"),
        ("3: 1 2", "Line 1"),
        ("3: 1\n3: 2", "Line 2: feature 3 is listed twice"),
        ("\n".join(f"{i}: 1" for i in range(1001)), "found 1001"),
    ],
)
def test_text_that_is_no_list_of_strengths(text, message):
    with pytest.raises(SaeuronError, match=message):
        parse_strengths(text)
