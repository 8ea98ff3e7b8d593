"""Features of a picture or of a painted part of it, and indices that people type."""

from __future__ import annotations

import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.features.finding import FeatureFinder, features_by_index, parse_indices
from saeuron.figures.tables import feature_set_table
from saeuron.regions import token_weights, tokens_inside
from saeuron.sae.model import SparseCodes
from support.codes import SAE, SIGMAS, codes_of


def picture(*tokens: dict[int, float]) -> SparseCodes:
    """A picture of 2 x 2 tokens."""
    codes = codes_of(list(tokens))
    return SparseCodes(codes.values.view(1, 2, 2, -1), codes.indices.view(1, 2, 2, -1))


TOKENS = picture({0: 4.0, 1: 3.0}, {0: 4.0}, {0: 4.0, 2: 2.0}, {0: 4.0, 2: 2.0, 5: 0.4})


def test_without_a_region_the_mean_activation_decides():
    finder = FeatureFinder(SAE, SIGMAS, {"steps": 3})
    for sigma in SIGMAS:
        finder.add(sigma, TOKENS)
    found = finder.find(3, "a cat")
    (step,) = found.steps
    assert [f.index for f in step.features] == [0, 2, 1]
    assert [f.mean_concept for f in step.features] == pytest.approx([4.0, 1.0, 0.75])
    assert [f.rate_concept for f in step.features] == pytest.approx([1.0, 0.5, 0.25])
    assert all(f.mean_all is None and f.score is None for f in step.features)
    assert found.sae == SAE and found.sampling == {"steps": 3} and found.concept == "a cat"
    assert len(finder.find(100, "").steps[0].features) == 4, "what never fires is not listed"


def test_with_a_region_what_fires_everywhere_does_not_count():
    top = torch.zeros(1, 64, 64)
    top[:, :32] = 1
    finder = FeatureFinder(SAE, SIGMAS, {}, top)
    finder.add(SIGMAS[0], TOKENS)
    features = finder.find(5, "").steps[0].features
    # Inside: 0 has 8 of 11, 1 has 3 of 11. Outside: 0 has 8 of 12.4, and 1 nothing.
    assert [f.index for f in features] == [1, 0]
    assert features[0].score == pytest.approx(3 / 11)
    assert features[1].score == pytest.approx(8 / 11 - 8 / 12.4)
    assert (features[0].mean_concept, features[0].mean_all) == pytest.approx((1.5, 0.75))
    assert (features[0].rate_concept, features[0].rate_all) == pytest.approx((0.5, 0.25))


def test_a_region_that_tells_nothing_apart():
    for mask, message in ((torch.zeros(1, 64, 64), "fills none"), (torch.ones(1, 64, 64), "covers the whole")):
        with pytest.raises(SaeuronError, match=message):
            FeatureFinder(SAE, SIGMAS, {}, mask).add(SIGMAS[0], TOKENS)
    with pytest.raises(SaeuronError, match="masks, height, width"):
        tokens_inside(torch.ones(64, 64), 2, 2)


def test_a_token_is_inside_if_half_of_it_is_painted():
    mask = torch.zeros(1, 8, 12)
    mask[:, :4, :2] = 1  # half of the first token
    mask[:, 4:, 8:11] = 1  # three quarters of the last one
    mask[:, :4, 8] = 1  # a quarter of the third
    assert torch.allclose(token_weights(mask, 2, 3)[0], torch.tensor([[0.5, 0, 0.25], [0, 0, 0.75]]))
    assert tokens_inside(mask, 2, 3).tolist() == [[True, False, False], [False, False, True]]


def test_nothing_fires_more_inside():
    top = torch.zeros(1, 64, 64)
    top[:, :32] = 1
    finder = FeatureFinder(SAE, SIGMAS, {}, top)
    finder.add(SIGMAS[0], picture({}, {}, {1: 1.0}, {}))
    with pytest.raises(SaeuronError, match="No feature fires there more"):
        finder.find(1, "")


def test_features_by_index():
    found = features_by_index(SAE, [5, 2], "fur")
    assert [f.index for f in found.steps[0].features] == [5, 2] and not found.has_means
    with pytest.raises(SaeuronError, match="SAE ends at 6"):
        features_by_index(SAE, [7], "fur")
    assert "soft fur" in feature_set_table(found, {2: "soft fur"})


def test_typed_indices():
    assert parse_indices("12, 7\n# all of it\n 0 7 # again\n") == [12, 7, 0]
    for text in ("", "# 4", "-1", "1.5", "a", "²", "1" * 10, " ".join(map(str, range(1001)))):
        with pytest.raises(SaeuronError, match="indices"):
            parse_indices(text)
