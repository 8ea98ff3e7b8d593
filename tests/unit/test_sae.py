"""The SAE against plain float64 arithmetic."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.sae.model import SAEIdentity, SparseAutoencoder
from support.reference import dense_codes, random_sae


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 24), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_codes_are_the_k_largest_preactivations_made_positive(seed, k, dtype):
    sae = random_sae(d=12, n=24, k=k, seed=seed)
    x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(seed)).to(dtype)
    codes = sae.encode(x)
    assert codes.values.shape == codes.indices.shape == (3, 5, k)
    assert codes.values.dtype == torch.float32
    dense = torch.zeros(3, 5, 24, dtype=torch.float64).scatter(-1, codes.indices, codes.values.double())
    assert torch.allclose(dense, dense_codes(sae, x), rtol=1e-5, atol=1e-5)


def test_decode_is_the_weighted_sum_of_decoder_rows_and_bias():
    sae = random_sae(d=12, n=24, k=5, seed=3)
    x = torch.randn(7, 12)
    expected = dense_codes(sae, x) @ sae.decoder.weight.double() + sae.decoder_bias.double()
    assert torch.allclose(sae.decode(sae.encode(x)).double(), expected, atol=1e-5)


def test_codes_of_chosen_features_are_the_dense_columns():
    sae = random_sae(d=12, n=24, k=6, seed=4)
    x = torch.randn(2, 9, 12)
    features = torch.tensor([0, 23, 7, 11])
    assert torch.allclose(sae.encode(x).of(features).double(), dense_codes(sae, x)[..., features], atol=1e-5)


def test_a_token_of_another_width_is_refused_with_both_widths():
    with pytest.raises(SaeuronError, match="width 12, found 8"):
        random_sae(d=12, n=24, k=5, seed=0).encode(torch.randn(3, 8))


@pytest.mark.parametrize("k", [0, 25])
def test_k_must_lie_between_1_and_n(k):
    with pytest.raises(SaeuronError):
        SparseAutoencoder(12, 24, k)


@pytest.mark.parametrize(
    "change", [{"d": 0}, {"k": 99}, {"kind": "difference"}, {"n": "24"}, {"sha256": None}, {"k": True}]
)
def test_an_identity_with_senseless_fields_is_refused(change):
    fields = SAEIdentity("ab", "sdxl-turbo", "up_blocks.0.attentions.1", "update", 12, 24, 5).as_dict()
    assert SAEIdentity.from_dict(fields).as_dict() == fields
    with pytest.raises(SaeuronError):
        SAEIdentity.from_dict({**fields, **change})
