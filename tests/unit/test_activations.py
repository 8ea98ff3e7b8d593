"""Codes, statistics and the exact edit with every activation function, against formulas in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saeuron.edits.apply import apply_edits
from saeuron.edits.call import Call, Row
from saeuron.edits.intervention import Intervention
from saeuron.errors import SaeuronError
from saeuron.features import kept_pictures
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.statistics import ActivationStatistics
from saeuron.sae import model
from saeuron.sae.model import ACTIVATIONS, JUMPRELU, SIGMOID, SAEIdentity, SparseAutoencoder, SparseCodes

D, N, K = 8, 24, 4
SIGMA = 7.0


def sae(activation: str, seed: int = 0) -> SparseAutoencoder:
    torch.manual_seed(seed)
    made = SparseAutoencoder(D, N, K, activation=activation)
    made.load_state_dict({name: torch.randn_like(value) for name, value in made.state_dict().items()})
    if activation == JUMPRELU:
        made.threshold.data.abs_()
    return made.requires_grad_(False)


def identity(activation: str) -> SAEIdentity:
    return SAEIdentity("ab" * 32, "sdxl-turbo", "up_blocks.0.attentions.1", "output", D, N, K, activation)


def dense(model: SparseAutoencoder, x: Tensor) -> Tensor:
    """The codes [..., n] by their formulas, float64."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    z = x.double() @ weights["encoder.weight"].T + weights["encoder.bias"]
    if model.activation == JUMPRELU:
        return z.relu() * (z > weights["threshold"])
    kept = torch.zeros_like(z).scatter(-1, z.topk(K).indices, 1.0)
    return (z.sigmoid() if model.activation == SIGMOID else z.relu()) * kept


def scattered(codes: SparseCodes) -> Tensor:
    shape = (*codes.values.shape[:-1], N)
    return torch.zeros(shape).scatter_add(-1, codes.indices, codes.values).double()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_codes_are_those_of_the_formula(activation: str, seed: int) -> None:
    model, x = sae(activation, seed), torch.randn(2, 3, 5, D)
    assert torch.allclose(scattered(model.encode(x)), dense(model, x), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rule", ["gamma", "gamma-mu", "zero"])
@given(seed=st.integers(0, 10**6), mean=st.floats(0, 1.5))
@settings(max_examples=30)
def test_the_exact_edit_is_that_of_the_formula(activation: str, rule: str, seed: int, mean: float) -> None:
    """Also which tokens are skipped: those on which no feature is above its mean keep their bits."""
    model, x = sae(activation, seed), torch.randn(1, 6, 6, D)
    chosen = [1, 5, 9]
    features = tuple(Feature(i, mean_concept=0.5, mean_all=mean) for i in chosen)
    feature_set = FeatureSet("cats", identity(activation), {}, {}, (FeatureStep(None, features),))
    edit = Intervention(feature_set, -3.0, "exact", rule)
    call = Call(SIGMA, 0, (Row("positive", 0, None, True, 0),))
    found = apply_edits(model, "output", [edit], call, torch.zeros_like(x), x)
    f = dense(model, x)
    factor = {"gamma": -3.0, "gamma-mu": -1.5, "zero": 0.0}[rule]
    change = torch.zeros_like(f)
    change[..., chosen] = torch.where(f[..., chosen] > mean, (factor - 1) * f[..., chosen], 0.0)
    expected = x.double() + change @ model.decoder.weight.double()
    near = ((f[..., chosen] - mean).abs() < 1e-5).any(-1)  # which side of its mean rounding puts it on is open
    assert torch.allclose(found.double()[~near], expected[~near], atol=1e-4)
    untouched = (change == 0).all(-1) & ~near
    assert torch.equal(found[untouched], x[untouched])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_statistics_count_tokens_and_keep_pictures(activation: str, tmp_path) -> None:
    model = sae(activation)
    statistics = ActivationStatistics(identity(activation), [SIGMA], {}, "cats")
    pictures = torch.randn(5, 3, 4, D) * torch.tensor([0.1, 1.0, 3.0, 1.0, 1.0]).view(5, 1, 1, 1)
    for number, x in enumerate(pictures):
        statistics.add(SIGMA, model.encode(x[None]), [f"picture {number}"])
    f = dense(model, pictures).flatten(0, -2)
    assert int(statistics.tokens[0]) == len(f) == 60
    assert torch.allclose(statistics.mean(False)[0], f.mean(0), atol=1e-5)
    statistics.save(tmp_path / "cats.safetensors")
    loaded = ActivationStatistics.load(tmp_path / "cats.safetensors")
    assert loaded.sae == identity(activation)
    kept = loaded.pictures.named([f"picture {number}" for number in range(5)])
    for number, x in enumerate(pictures):
        codes = scattered(kept[f"picture {number}"])
        assert torch.allclose(codes, dense(model, x).flatten(0, -2), rtol=1e-3, atol=1e-3)


def test_an_identity_tells_the_activation_and_old_ones_are_topk() -> None:
    plain = identity("topk")
    assert "activation" not in plain.as_dict() and "topk" not in plain.describe()
    for activation in ACTIVATIONS:
        own = identity(activation)
        assert SAEIdentity.from_dict(own.as_dict()) == own
        assert (own == plain) == (activation == "topk")
    with pytest.raises(SaeuronError, match="activation must be one of"):
        SAEIdentity.from_dict({**plain.as_dict(), "activation": "relu"})
    with pytest.raises(SaeuronError, match="Unknown activation"):
        SparseAutoencoder(D, N, K, activation="relu")


def test_a_feature_set_of_another_activation_is_refused() -> None:
    features = FeatureSet("cats", identity("topk"), {}, {}, (FeatureStep(None, (Feature(1),)),))
    with pytest.raises(SaeuronError, match="another SAE"):
        features.check_sae(replace(identity("topk"), activation=SIGMOID))


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_threshold_that_nothing_reaches_gives_codes_of_zero(tokens: int) -> None:
    model = sae(JUMPRELU)
    model.threshold.data.fill_(1e6)
    codes = model.encode(torch.randn(tokens, D))
    assert codes.values.shape == (tokens, 1) and not codes.values.any()
    assert torch.equal(model.decode(codes), model.decoder_bias.expand(tokens, D))


def test_statistics_of_a_jumprelu_sae_do_not_depend_on_batches(tmp_path, monkeypatch) -> None:
    """Codes are as wide as their batch needs; what is kept of them is not."""
    sae = jumprelu()
    identity = SAEIdentity("", "sdxl-turbo", "up_blocks.0.attentions.1", "update", 16, 64, 8, "jumprelu")
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(6, 3, 2, 16, generator=generator)
    pictures *= torch.tensor([0.1, 1.0, 3.0, 0.5, 2.0, 0.0]).view(6, 1, 1, 1)

    def collect(*ends: int) -> ActivationStatistics:
        statistics = ActivationStatistics(identity, (14.6, 3.0))
        for first, last in pairwise((0, *ends, 6)):
            names = [str(place) for place in range(first, last)]
            statistics.add(14.6, sae.encode(pictures[first:last]), names)
        return statistics

    collect().save(tmp_path / "once")
    collect(1, 2, 4).save(tmp_path / "parts")
    ActivationStatistics.load(tmp_path / "once").save(tmp_path / "again")
    assert (tmp_path / "once").read_bytes() == (tmp_path / "parts").read_bytes() == (tmp_path / "again").read_bytes()
    for name, codes in collect(1, 2, 4).pictures.named([str(place) for place in range(6)]).items():
        kept = torch.zeros(6, 64).scatter_add(-1, codes.indices, codes.values)
        z = pictures[int(name)].flatten(0, 1).double() @ sae.encoder.weight.double().T + sae.encoder.bias.double()
        expected = torch.where(z > sae.threshold.double(), z.clamp(min=0), 0.0)
        torch.testing.assert_close(kept.double(), expected, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(kept_pictures, "KEPT_CODES", 3)
    assert max(codes.values.shape[-1] for codes in collect().pictures.codes()) == 3


@pytest.mark.parametrize("at_once", [1, 300, 1 << 27])
def test_decoding_in_parts_is_the_same(monkeypatch, at_once: int) -> None:
    monkeypatch.setattr(model, "AT_ONCE", at_once)
    sae = jumprelu()
    codes = sae.encode(torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3)) * 2)
    f = torch.zeros(2, 5, 64, dtype=torch.float64).scatter_add(-1, codes.indices, codes.values.double())
    expected = f @ sae.decoder.weight.double() + sae.decoder_bias.double()
    assert torch.allclose(sae.decode(codes).double(), expected, atol=1e-5)


def jumprelu() -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(7)
    sae = SparseAutoencoder(16, 64, 8, activation="jumprelu")
    sae.load_state_dict(
        {
            "encoder.weight": torch.randn(64, 16, generator=generator) / 4,
            "encoder.bias": torch.randn(64, generator=generator) * 0.1,
            "decoder.weight": torch.randn(64, 16, generator=generator) / 4,
            "decoder_bias": torch.randn(16, generator=generator),
            "threshold": torch.rand(64, generator=generator),
        }
    )
    return sae.requires_grad_(False)
