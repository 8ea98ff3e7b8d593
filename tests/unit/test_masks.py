"""Masks over tokens: growth, soft edges, sizes, regions and cuts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saeuron.edits.masks import (
    SMALLEST,
    above_mean,
    above_otsu,
    feather,
    grow,
    grow_small,
    resize,
    smooth,
)

sizes = st.integers(1, 9)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    """[B, h, w], mostly 0 or 1."""
    shape = draw(st.integers(1, 2)), draw(sizes), draw(sizes)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    rate = draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    mask = (torch.rand(shape, generator=generator) < rate).float()
    return mask * torch.rand(shape, generator=generator) if draw(st.booleans()) else mask


def dot(height: int = 7, width: int = 9, at: tuple[int, int] = (3, 4)) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[(0, *at)] = 1
    return mask


@settings(deadline=None, max_examples=60)
@given(masks(), st.integers(0, 4))
def test_grown_masks_are_those_of_the_definition(mask: Tensor, tokens: int) -> None:
    found = grow(mask, tokens)
    for b, i, j in torch.cartesian_prod(*(torch.arange(size) for size in mask.shape)).view(-1, 3).tolist():
        near = mask[b, max(i - tokens, 0) : i + tokens + 1, max(j - tokens, 0) : j + tokens + 1]
        assert found[b, i, j] == near.max()


def test_feather_falls_evenly_and_then_is_exactly_0() -> None:
    soft = feather(dot(), 2)
    torch.testing.assert_close(soft[0, 3], torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0, 0]))
    assert int((soft == 0).sum()) == 7 * 9 - 25
    assert torch.equal(feather(dot(), 0), dot())


@settings(deadline=None, max_examples=60)
@given(masks(), st.integers(0, 3))
def test_feather_keeps_the_mask_and_reaches_no_further_than_it_says(mask: Tensor, tokens: int) -> None:
    soft = feather(mask, tokens)
    assert (soft >= mask).all() and (soft <= 1).all()
    assert torch.equal(soft[mask == 1], mask[mask == 1])
    assert torch.equal(soft > 0, grow(mask, tokens) > 0)


@settings(deadline=None, max_examples=150)
@given(masks(), sizes, sizes)
def test_resized_weights_stay_weights_and_no_open_mask_becomes_empty(mask: Tensor, height: int, width: int) -> None:
    found = resize(mask, height, width)
    assert found.shape == (len(mask), height, width)
    assert (found >= 0).all() and (found <= 1).all()
    assert torch.equal(found.amax((1, 2)) > 0, mask.amax((1, 2)) > 0)
    torch.testing.assert_close(found.mean((1, 2)), mask.mean((1, 2)))  # as much is marked as before
    assert torch.equal(resize(torch.ones_like(mask), height, width), torch.ones(len(mask), height, width))


@settings(deadline=None, max_examples=40)
@given(masks(), st.integers(1, 3), st.integers(1, 3))
def test_resizing_by_whole_factors_is_repeating_and_averaging(mask: Tensor, down: int, right: int) -> None:
    large = mask.repeat_interleave(down, 1).repeat_interleave(right, 2)
    height, width = mask.shape[1:]
    torch.testing.assert_close(resize(mask, down * height, right * width), large)
    noise = torch.rand_like(large)
    expected = F.avg_pool2d(noise.unsqueeze(1), (down, right)).squeeze(1)
    torch.testing.assert_close(resize(noise, height, width), expected)


def test_the_same_size_is_the_same_mask() -> None:
    mask = dot()
    assert resize(mask, 7, 9) is mask


def test_an_open_but_small_mask_grows_and_others_do_not() -> None:
    large = torch.zeros(1, 8, 8)
    large[:, :, :2] = 1  # a quarter
    both = torch.cat([dot(8, 8, (0, 0)), torch.zeros(1, 8, 8), large])
    found = grow_small(both)
    corner = torch.zeros(8, 8)
    corner[:4, :4] = 1  # the first square in the corner that covers a quarter
    assert torch.equal(found, torch.stack([corner, both[1], both[2]]))


@settings(deadline=None, max_examples=60)
@given(masks())
def test_growing_ends_when_large_enough(mask: Tensor) -> None:
    binary = (mask > 0).float()
    found = grow_small(binary)
    share, before = found.mean((1, 2)), binary.mean((1, 2))
    assert torch.equal(share > 0, before > 0)
    assert ((share >= SMALLEST) | (before == 0)).all()
    assert torch.equal(found[before >= SMALLEST], binary[before >= SMALLEST])


def test_smoothing_is_the_mean_of_the_neighbours_there_are() -> None:
    values = torch.arange(12.0).view(1, 3, 4)
    found = smooth(values)
    assert found[0, 1, 1] == values[0, :3, :3].mean()
    assert found[0, 0, 0] == values[0, :2, :2].mean()


def plain_otsu(values: list[float]) -> list[bool]:
    """As the paper defines it: the threshold with the largest variance between the classes."""
    best, chosen = -1.0, float("inf")
    for threshold in sorted(set(values))[:-1]:
        low, high = [v for v in values if v <= threshold], [v for v in values if v > threshold]
        between = len(low) * len(high) * (sum(high) / len(high) - sum(low) / len(low)) ** 2
        if between > best + 1e-6:
            best, chosen = between, threshold
    return [value > chosen for value in values]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=12))
def test_otsus_cut_is_the_papers(values: list[int]) -> None:
    numbers = [float(value**2) for value in values]
    assert above_otsu(torch.tensor(numbers).view(1, 1, -1)).flatten().tolist() == plain_otsu(numbers)


@pytest.mark.parametrize("cut", [above_mean, above_otsu])
def test_cuts_are_made_for_each_picture_and_none_where_all_is_equal(cut: object) -> None:
    assert callable(cut)
    values = torch.stack([torch.full((3, 4), 7.0), torch.zeros(3, 4), dot(3, 4, (1, 1))[0] * 100, dot(3, 4, (2, 2))[0]])
    assert cut(values).flatten(1).sum(1).tolist() == [0, 0, 1, 1]
    assert cut(values)[2, 1, 1] and cut(values)[3, 2, 2]
    assert not cut(torch.ones(2, 1, 1)).any()
