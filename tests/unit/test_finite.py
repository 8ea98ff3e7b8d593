"""Numbers at their extremes: an edit never turns a picture into NaN silently, and says who is to blame."""

from __future__ import annotations

import json

import pytest
import torch

from saeuron.edits.call import Call, Row
from saeuron.edits.intervention import MODES, Intervention, intervene
from saeuron.edits.steering import Steering, steer
from saeuron.errors import SaeuronError
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.statistics import ActivationStatistics
from saeuron.sae.files import load_sae
from saeuron.sae.formats import Placement
from saeuron.sae.model import SAEIdentity, SparseAutoencoder, SparseCodes
from support.reference import random_sae
from tools.sae_files import write_sparsify, write_unbox

D, N, K = 12, 48, 6
PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")
IDENTITY = SAEIdentity("", "sdxl-turbo", "up_blocks.0.attentions.1", "output", D, N, K)
OWN = r"model's own activation is not finite.*bfloat16 or float32"


def all_features(mean_all: float = 0.0, indices=range(N)) -> FeatureSet:
    features = tuple(Feature(index, mean_concept=0.4, mean_all=mean_all) for index in indices)
    return FeatureSet("cats", IDENTITY, {}, {}, (FeatureStep(None, features),))


def tokens(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 3, 5, D, generator=torch.Generator().manual_seed(1)).to(dtype)


def edit(output: torch.Tensor, multiplier: float = -5.0, mode: str = "exact", sae=None, **changes) -> torch.Tensor:
    sae = sae or random_sae(D, N, K, 1)
    chosen = Intervention(all_features(**changes), multiplier, mode)
    return intervene(sae, "output", [chosen], 1.0, torch.zeros_like(output), output)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_token_that_the_model_broke_is_left_or_named_never_blamed_on_the_edit(value):
    output = tokens()
    output[1, 2, 4] = value
    try:
        edited = edit(output)
    except SaeuronError as error:
        assert "model's own activation is not finite" in str(error)  # its code was infinite, so it was edited
    else:
        broken = ~torch.isfinite(edited).all(-1)
        assert broken.nonzero().tolist() == [[1, 2, 4]]
        assert not torch.equal(edited[0], output[0])
    for mode in ("seed", "saeuron-code"):
        with pytest.raises(SaeuronError, match=OWN):
            edit(output, mode=mode)


def test_a_broken_token_does_not_stop_an_edit_elsewhere():
    output = tokens()
    output[0, 0, 0] = float("nan")
    edited = edit(output)
    assert torch.isfinite(edited).all(-1).sum() == 2 * 3 * 5 - 1
    assert (edited != output).any(-1).sum() > 10


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_that_leaves_float16_is_blamed(mode):
    with pytest.raises(SaeuronError, match=r"edited activation is not finite \(largest effective factor 4e\+05\)"):
        edit(tokens(torch.float16), -1e6, mode)


@pytest.mark.parametrize("value", [65504.0, -65504.0, 6e-8, 0.0])
def test_the_extremes_of_float16_are_edited_or_refused(value):
    output = tokens(torch.float16)
    output[0, 0, 0, :] = value
    try:
        assert torch.isfinite(edit(output, 0.0)).all()
    except SaeuronError as error:
        assert abs(value) == 65504 and "multiplier closer to 0" in str(error)


@pytest.mark.parametrize("largest", [False, True])
def test_strengths_are_blamed_only_for_what_they_did(largest):
    sae, output = random_sae(D, N, K, 1), tokens(torch.float16)
    strength = 1e6 if largest else 1.0
    output[0, 0, 0] = 1.0 if largest else float("nan")
    call, region = Call(1.0, 0, (Row(picture=0, area_known=True), Row(picture=1, area_known=True))), torch.ones(1, 3, 5)

    def steered() -> torch.Tensor:
        return steer(sae, [Steering(((3, strength),), region=region)], call, [0, 1], output)

    with pytest.raises(SaeuronError, match="strengths closer to 0" if largest else OWN):
        steered()
    if not largest:
        region[:, 0, 0] = 0  # of the broken token
        assert (~torch.isfinite(steered()).all(-1)).nonzero().tolist() == [[0, 0, 0]]


def dead_sae() -> SparseAutoencoder:
    """One whose features never fire."""
    sae = random_sae(D, N, K, 1)
    sae.encoder.weight.zero_()
    sae.encoder.bias.fill_(-1)
    return sae


def test_a_dead_sae_changes_nothing():
    output = tokens()
    codes = dead_sae().encode(output)
    assert not codes.values.any()
    assert edit(output, sae=dead_sae()) is output
    assert edit(output, sae=dead_sae(), mean_all=-1.0) is output
    for mode in ("seed", "saeuron-code"):
        assert torch.isfinite(edit(output, mode=mode, sae=dead_sae())).all()


def test_statistics_of_a_dead_sae_are_zeros():
    statistics = ActivationStatistics(IDENTITY, [1.0])
    statistics.add(1.0, dead_sae().encode(tokens()))
    assert not statistics.mean(per_step=True).any() and not statistics.firing_rate("image", per_step=True).any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_statistics_refuse_what_is_not_finite(value):
    output = tokens()
    output[0, 0, 0, 0] = value
    statistics = ActivationStatistics(IDENTITY, [1.0])
    with pytest.raises(SaeuronError, match="codes are not finite"):
        statistics.add(1.0, random_sae(D, N, K, 1).encode(output))
    assert not statistics.tokens.any()


@pytest.mark.parametrize("k", [0, -1, N + 1])
def test_k_outside_1_to_n(tmp_path, k):
    with pytest.raises(SaeuronError, match="between 1 and n"):
        SparseAutoencoder(D, N, k)
    write_unbox(tmp_path / "unbox", D, N, k)
    write_sparsify(tmp_path / "sparsify", D, N, k)
    for folder in ("unbox", "sparsify"):
        with pytest.raises(SaeuronError, match=r"\bk\b|n features"):
            load_sae(tmp_path / folder, PLACE)
    with pytest.raises(SaeuronError, match="k at most n"):
        SAEIdentity.from_dict(json.loads(json.dumps({**IDENTITY.as_dict(), "k": k})))


@pytest.mark.parametrize("mode", MODES)
def test_k_equal_to_n_keeps_everything(mode):
    sae = random_sae(D, N, N, 1)
    assert torch.isfinite(edit(tokens(), -1.0, mode, sae)).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_none(mode):
    empty = tokens()[:0]
    assert edit(empty, mode=mode).shape == empty.shape
    assert steer(random_sae(D, N, K, 1), [Steering(((3, 1.0),))], Call(1.0, 0, ()), [], empty).shape == empty.shape
    statistics = ActivationStatistics(IDENTITY, [1.0])
    with pytest.raises(SaeuronError, match="found"):
        statistics.add(1.0, SparseCodes(torch.zeros(0, 3, 5, K), torch.zeros(0, 3, 5, K, dtype=torch.int64)))
