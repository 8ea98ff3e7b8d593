"""Activation maps, what is made of them, and the figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.heatmaps import ActivationMaps, Heatmap, as_mask, features_of, patch_around_peak
from saeuron.figures.plots import MAX_BARS, example_grid, feature_bars, heated, heatmap_overlays
from saeuron.sae.model import SparseCodes
from support.codes import SAE, SIGMAS, codes_of


def picture(*tokens: dict[int, float]) -> SparseCodes:
    """A picture of 2 x 2 tokens."""
    codes = codes_of(list(tokens))
    return SparseCodes(codes.values.view(1, 2, 2, -1), codes.indices.view(1, 2, 2, -1))


def maps_of_two_steps() -> ActivationMaps:
    maps = ActivationMaps([5, 1], SIGMAS)
    maps.add(SIGMAS[0], picture({5: 1.0}, {1: 2.0, 0: 9.0}, {}, {}))
    maps.add(SIGMAS[1], picture({5: 3.0, 1: 1.0}, {}, {}, {}))
    maps.add(SIGMAS[1] * 0.9, picture({5: 5.0}, {}, {}, {}))  # a sampler of second order calls again
    return maps


def test_values_are_the_activations_of_each_step():
    values = maps_of_two_steps().values()
    assert values.shape == (3, 2, 2, 2)
    assert values[0].tolist() == [[[1, 0], [0, 0]], [[0, 2], [0, 0]]]
    assert values[1].tolist() == [[[4, 0], [0, 0]], [[0.5, 0], [0, 0]]], "the mean of two calls"
    assert not values[2].any()


def test_views():
    maps = maps_of_two_steps()
    (summed,) = maps.heatmaps("summed", {})
    assert summed.title == "2 features, all steps" and summed.values.tolist() == [[5.5, 2], [0, 0]]
    first, second = maps.heatmaps("per feature", {5: "fur"})
    assert (first.title, second.title) == ("feature 5 (fur)", "feature 1")
    assert first.values.tolist() == [[5, 0], [0, 0]] and second.values.tolist() == [[0.5, 2], [0, 0]]
    steps = maps.heatmaps("per step", {})
    assert [step.title for step in steps] == ["step 1, sigma 14.6", "step 2, sigma 3", "step 3, sigma 0.5"]
    assert [float(step.values.sum()) for step in steps] == [3, 4.5, 0]
    with pytest.raises(SaeuronError, match="summed, per feature, per step"):
        maps.heatmaps("all", {})


def test_the_table_says_how_much_and_where():
    assert maps_of_two_steps().table({5: "fur"}).splitlines()[2:] == [
        "5 (fur): 5, 4 (step 2; 1, 1)",
        "1: 2.5, 2 (step 1; 2, 1)",
    ]


def test_nothing_to_show():
    with pytest.raises(SaeuronError, match="no feature to show"):
        ActivationMaps([], SIGMAS)
    with pytest.raises(SaeuronError, match="bypasses it"):
        ActivationMaps([1], SIGMAS).values()


def test_features_of_all_steps_are_taken_once():
    steps = [FeatureStep(sigma, (Feature(3), Feature(i))) for i, sigma in enumerate(SIGMAS[:2])]
    assert features_of(FeatureSet("", SAE, {}, {}, tuple(steps))) == [3, 0, 1]


def test_a_mask_is_1_where_features_fire_most():
    mask = as_mask(torch.tensor([[0.0, 8.0], [0.0, 4.0]]), 64, 32)
    assert mask.shape == (1, 64, 32) and mask.dtype == torch.float32
    assert float(mask[0, 0, -1]) == 1 and float(mask[0, -1, -1]) == 0.5 and float(mask[0, 0, 0]) == 0
    assert not as_mask(torch.zeros(2, 2), 8, 8).any()


@pytest.mark.parametrize(
    ("peak", "rows", "columns"),
    [((2, 2), (8, 32), (16, 64)), ((0, 0), (0, 24), (0, 48)), ((5, 5), (24, 48), (48, 96))],
)
def test_the_patch_lies_around_the_peak_and_inside_the_picture(peak, rows, columns):
    values = torch.zeros(6, 6)
    values[peak] = 1
    assert patch_around_peak(values, 48, 96) == (slice(*rows), slice(*columns))
    assert patch_around_peak(torch.ones(1, 2), 10, 20) == (slice(0, 10), slice(0, 20))


def test_heat_is_drawn_where_something_fires_and_nowhere_else():
    grey = np.full((4, 8, 3), 100, np.uint8)
    drawn = heated(grey, np.array([[0.0, 2.0]]), 2.0)
    assert (drawn[:, :4] == 100).all() and (drawn[:, 4:] != 100).any(-1).all()
    assert (heated(grey, np.zeros((1, 2)), 0.0) == grey).all()


def test_overlays_have_one_size_and_one_scale():
    picture_, weak, strong = np.zeros((64, 64, 3), np.uint8), torch.full((2, 2), 0.5), torch.full((2, 2), 1.0)
    both = heatmap_overlays(picture_, [Heatmap("weak", weak), Heatmap("strong", strong)])
    assert both.dtype == np.uint8 and both.ndim == 4 and both.shape[0] == 2 and both.shape[3] == 3
    middle = both.shape[1] // 2, both.shape[2] // 3
    assert not np.array_equal(both[0][middle], both[1][middle]), "the same colour must mean the same activation"
    silent = heatmap_overlays(picture_, [Heatmap("nothing fires", torch.zeros(2, 2))])
    assert silent[0].std() > 5


def test_bars_of_known_and_unknown_numbers():
    known = [Feature(i, 0.2, 1.0, 0.5, 0.9, 0.4) for i in range(3)]
    full, empty = feature_bars("cats", known, {1: "fur"}), feature_bars("cats", [Feature(3)], {}, rows=3)
    assert full.shape == empty.shape and full.dtype == np.uint8
    assert not np.array_equal(full, empty)
    # A longer bar is drawn for a larger number.
    green = (np.abs(full.astype(int) - (0, 0x9E, 0x73)).sum(-1) < 20).sum()
    doubled = feature_bars("cats", [Feature(0, 0.2, 1.0, 0.5, 0.9, 0.4), Feature(1, 0.1), Feature(2, 0.1)], {})
    assert 0 < (np.abs(doubled.astype(int) - (0, 0x9E, 0x73)).sum(-1) < 20).sum() < green
    many = feature_bars("cats", [Feature(i, 0.1) for i in range(MAX_BARS + 20)], {})
    assert many.shape == feature_bars("cats", [Feature(i, 0.1) for i in range(MAX_BARS)], {}).shape


def test_examples_are_a_labelled_grid():
    heatmaps = [Heatmap("2  a cat", torch.tensor([[2.0, 0], [0, 0]])), Heatmap("1  a dog", torch.ones(2, 2))]
    pictures = [np.full((32, 32, 3), 50, np.uint8)] * 2
    grid = example_grid(heatmaps, pictures, [p[:16, :16] for p in pictures])
    assert grid.ndim == 3 and grid.dtype == np.uint8 and grid.std() > 5
