"""The artifact measure on planted artifacts, and where there is too little to measure.

Pictures are simple scenes drawn here, features those of a small convolutional network with fixed random weights: no
trained weights are needed to tell texture from a drawing.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from saeuron.errors import SaeuronError
from saeuron.evaluation.artifacts import RealismJudge, kernel_distance, squared_mmd
from saeuron.evaluation.corruptions import CORRUPTIONS, corrupt

SIZE = 64


def scenes(count: int, seed: int) -> np.ndarray:
    """uint8 [count, SIZE, SIZE, 3]: discs and squares on a gradient."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pictures = np.empty((count, SIZE, SIZE, 3))
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        ramp = (rows * rng.uniform(-1, 1) + columns * rng.uniform(-1, 1))[..., None] / SIZE
        picture = rng.uniform(150, 230, 3) + 30 * ramp
        for _ in range(3):
            y, x, radius = rng.uniform(12, SIZE - 12), rng.uniform(12, SIZE - 12), rng.uniform(5, 12)
            distance = (
                np.hypot(rows - y, columns - x) if rng.random() < 0.5 else np.maximum(abs(rows - y), abs(columns - x))
            )
            picture[distance < radius] = rng.uniform(0, 255, 3)
        pictures[index] = picture
    return pictures.clip(0, 255).round().astype(np.uint8)


class RandomFeatures:
    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self._layers = nn.ModuleList([nn.Conv2d(3, 24, 5, 2, 2), nn.Conv2d(24, 48, 3, 2, 1)])
        for parameter in self._layers.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale * 2**0.5

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        found = []
        for layer in self._layers:
            x = layer(x).relu()
            found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat(found, 1).numpy()


@pytest.fixture(scope="module")
def features() -> RandomFeatures:
    return RandomFeatures()


@pytest.fixture(scope="module")
def judge(features: RandomFeatures) -> RealismJudge:
    return RealismJudge(features, scenes(240, seed=1), seed=0)


def plant_noise(pictures: np.ndarray, share: float, seed: int = 9) -> np.ndarray:
    """A patch of white noise, a third as wide as the picture, in the first `share` of the pictures."""
    rng, result = np.random.default_rng(seed), pictures.copy()
    for picture in result[: round(share * len(result))]:
        top, left = rng.integers(SIZE - SIZE // 3, size=2)
        patch = picture[top : top + SIZE // 3, left : left + SIZE // 3]
        patch[:] = rng.integers(256, size=patch.shape)
    return result


def test_distance_by_hand():
    """One number a picture, d = 1, so k(a, b) = (ab + 1)³; x = (0, 1), y = (0, 2)."""
    x, y = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    # within x: k(0,1) = 1; within y: k(0,2) = 1; across: k(0,0), k(0,2), k(1,0), k(1,2) = 1, 1, 1, 27
    assert squared_mmd(x, y) == pytest.approx(1 + 1 - 2 * (1 + 1 + 1 + 27) / 4)


def test_distance_is_a_plain_double_loop_s():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(1, 2, size=(7, 3))

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    expected = (
        np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
        + np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    assert squared_mmd(x, y) == pytest.approx(expected)


def test_distance_of_equal_distributions_is_zero_on_average():
    """Unbiased: over many draws of the same distribution the mean is 0 within three standard errors."""
    rng = np.random.default_rng(1)
    found = [kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4)), 20).value for _ in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 20
    assert min(found) < 0, "a biased estimate would never be below 0"


def test_blocks_are_disjoint_and_drawn_by_the_seed():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(100, 4)), rng.normal(0.5, 1, size=(130, 4))
    first = kernel_distance(x, y, block=25, seed=5)
    assert first == kernel_distance(x, y, block=25, seed=5) != kernel_distance(x, y, block=25, seed=6)
    assert first.standard_error > 0
    assert np.isnan(kernel_distance(x[:12], y, block=50).standard_error), "one block says nothing about spread"
    whole = kernel_distance(x, y[:100], block=100)
    assert whole.value == pytest.approx(squared_mmd(x, y[:100])), "one block of everything is the plain estimate"


def test_distance_grows_with_planted_noise(features):
    plain, others = features(scenes(400, seed=2)), scenes(400, seed=3)
    clean, some, many = (
        kernel_distance(features(plant_noise(others, share)), plain, block=100) for share in (0, 0.5, 1)
    )
    assert clean.value < some.value < many.value
    assert abs(clean.value) < 0.2 * many.value
    assert many.value > 4 * many.standard_error


@pytest.mark.parametrize(
    ("edited", "plain", "block", "message"),
    [
        (np.zeros((9, 4)), np.zeros((50, 4)), 50, "found 9 edited"),
        (np.zeros((50, 4)), np.zeros((0, 4)), 50, "and 0 un-ablated"),
        (np.zeros((50, 4)), np.zeros((50, 4)), 1, "blocks of 1"),
        (np.zeros((50, 4)), np.zeros((50, 5)), 50, "4 and 5 numbers"),
        (np.zeros(50), np.zeros((50, 1)), 50, r"shape \(50,\)"),
        (np.full((50, 4), np.nan), np.zeros((50, 4)), 50, "not finite"),
    ],
)
def test_distances_that_would_mean_nothing(edited, plain, block, message):
    with pytest.raises(SaeuronError, match=message):
        kernel_distance(edited, plain, block)


def test_judge_rejects_about_five_in_a_hundred_unseen_real_pictures(judge):
    """400 at 5 %, with a threshold set on 80: between 0 and 14 % covers four standard errors."""
    assert judge.rejected_share(scenes(400, seed=4)) <= 0.14


def test_judge_finds_planted_noise_and_counts_it(judge):
    """White noise patches are no kind it was trained on."""
    pictures = scenes(100, seed=5)
    assert judge.rejected_share(plant_noise(pictures, 1.0)) > 0.5
    half = judge.rejects(plant_noise(pictures, 0.5))
    assert half[:50].mean() > 0.5 and half[50:].mean() < 0.2


def test_judge_says_what_it_can_and_cannot_see(judge):
    assert list(judge.caught) == list(CORRUPTIONS)
    assert judge.caught["noise texture"] > 0.6 and judge.caught["shuffled patches"] > 0.4
    blind = RealismJudge(lambda pictures: pictures.mean((1, 2)), scenes(240, seed=1))  # knows the mean colour only
    assert blind.caught["shuffled patches"] < 0.15, "shuffling leaves the mean colour as it was"


def test_judge_does_not_care_what_is_shown_if_it_is_clean(judge):
    """A mirrored picture is another picture, not a worse one."""
    assert judge.rejected_share(scenes(100, seed=6)[:, :, ::-1]) <= 0.2


def test_same_inputs_give_the_same_judge(features):
    real, pictures = scenes(60, seed=7), scenes(20, seed=8)
    first, second, other = (RealismJudge(features, real, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.realism(pictures), second.realism(pictures))
    assert not np.array_equal(first.realism(pictures), other.realism(pictures))


def test_too_few_pictures(features, judge):
    with pytest.raises(SaeuronError, match="at least 60 real pictures, found 59"):
        RealismJudge(features, scenes(59, seed=7))
    with pytest.raises(SaeuronError, match="no pictures"):
        judge.rejected_share(scenes(0, seed=7))


def test_without_scikit_learn_the_message_says_so(features, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SaeuronError, match="realism judge needs the Python package scikit-learn"):
        RealismJudge(features, scenes(60, seed=7))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_spoils_one_region_and_depends_on_the_seed_only(kind):
    pictures = scenes(6, seed=10)
    before = pictures.copy()
    spoilt = corrupt(pictures, kind, seed=1)
    assert np.array_equal(pictures, before)
    assert np.array_equal(spoilt, corrupt(pictures, kind, seed=1))
    assert np.array_equal(spoilt[:3], corrupt(pictures[:3], kind, seed=1))
    assert not np.array_equal(spoilt, corrupt(pictures, kind, seed=2))
    for picture, copy in zip(pictures, spoilt, strict=True):
        changed = (picture != copy).any(axis=2)
        rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
        assert len(rows) and max(np.ptp(rows), np.ptp(columns)) < 0.7 * SIZE


def test_shuffling_moves_pixels_and_makes_none():
    picture = np.random.default_rng(0).integers(256, size=(1, SIZE, SIZE, 3), dtype=np.uint8)
    shuffled = corrupt(picture, "shuffled patches", seed=0)
    assert not np.array_equal(picture, shuffled)
    assert np.array_equal(np.sort(picture.reshape(-1, 3), axis=0), np.sort(shuffled.reshape(-1, 3), axis=0))
