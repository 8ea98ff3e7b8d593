"""Halves of pictures, as the judge of halves is shown them."""

from __future__ import annotations

import numpy as np
import pytest

from saeuron.evaluation.halves import HALVES, keep_half

OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


@pytest.mark.parametrize("half", HALVES)
def test_one_half_is_kept_and_the_other_painted_gray(half: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    parts = {
        "left": np.s_[:, :, :4],
        "right": np.s_[:, :, 4:],
        "top": np.s_[:, :3],
        "bottom": np.s_[:, 3:],
    }
    before = pictures.copy()
    kept = keep_half(pictures, half)
    assert (kept[parts[half]] == before[parts[half]]).all()
    assert (kept[parts[OPPOSITE[half]]] == 128).all()
    assert (pictures == before).all(), "the pictures that came in are not changed"
