"""Halves of pictures, for a judge that says what is on one: the miniature's draws two things, each on its half."""

from __future__ import annotations

from .classifier import Pixels

HALVES = ("left", "right", "top", "bottom")
NOTHING = "nothing"
"""What the judge of halves calls a half with nothing on it."""

_GRAY = 128


def keep_half(pictures: Pixels, half: str) -> Pixels:
    """Pictures uint8 [B, H, W, 3] with the other half painted gray, as the judge of halves was trained to see them."""
    kept = pictures.copy()
    middle_row, middle_column = kept.shape[1] // 2, kept.shape[2] // 2
    others = {
        "left": kept[:, :, middle_column:],
        "right": kept[:, :, :middle_column],
        "top": kept[:, middle_row:],
        "bottom": kept[:, :middle_row],
    }
    others[half][:] = _GRAY
    return kept
