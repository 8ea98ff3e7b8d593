"""Before and after: the pictures' own pixels, labelled."""

from __future__ import annotations

import numpy as np
import pytest

from saeuron.errors import SaeuronError
from saeuron.figures.comparison import GAP, side_by_side


def noise(count, height=40, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("left", "right"), [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_pixels_are_copied_as_they_are(left, right):
    before, after = noise(left), noise(right, seed=1)
    both = side_by_side(before, after, ("Before", "After"))
    caption = both.shape[1] - 40
    assert both.dtype == np.uint8 and both.shape == (max(left, right), caption + 40, 2 * 64 + GAP, 3)
    assert np.array_equal(both[:, caption:, :64], np.broadcast_to(before, (max(left, right), 40, 64, 3)))
    assert np.array_equal(both[:, caption:, -64:], np.broadcast_to(after, (max(left, right), 40, 64, 3)))


def test_each_label_stands_above_its_picture():
    plain = side_by_side(noise(1), noise(1), ("", ""))[0]
    labelled = side_by_side(noise(1), noise(1), ("Before", ""))[0]
    long = side_by_side(noise(1), noise(1), ("", "a label that is much longer than the picture is wide"))[0]
    changed = (plain != labelled).any((0, 2)).nonzero()[0]
    assert len(changed) and changed.max() < 64
    changed = (plain != long).any((0, 2)).nonzero()[0]
    assert len(changed) and changed.min() >= 64


def test_pictures_that_can_not_be_compared():
    with pytest.raises(SaeuronError, match="Before is 64 x 40 and after 80 x 40 pixels"):
        side_by_side(noise(1), noise(1, width=80), ("", ""))
    with pytest.raises(SaeuronError, match="Before has 2 pictures and after 3"):
        side_by_side(noise(2), noise(3), ("", ""))
