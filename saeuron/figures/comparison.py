"""Pictures before and after, side by side."""

from __future__ import annotations

import numpy as np

from ..errors import SaeuronError
from .lettering import MORE, lettering

GAP = 4  # pixels


def side_by_side(before: np.ndarray, after: np.ndarray, labels: tuple[str, str]) -> np.ndarray:
    """uint8 [B, H, W, 3] twice -> [B, H + caption, 2 W + gap, 3]; a single picture is compared with each of the other.

    The pictures' own pixels are copied as they are. Errors: `SaeuronError` for other sizes or counts.
    """
    if before.shape[1:] != after.shape[1:]:
        sizes = [f"{pictures.shape[2]} x {pictures.shape[1]}" for pictures in (before, after)]
        raise SaeuronError(f"Before is {sizes[0]} and after {sizes[1]} pixels. Scale one of them to the other's size.")
    count = max(len(before), len(after))
    if {len(before), len(after)} - {1, count}:
        raise SaeuronError(
            f"Before has {len(before)} pictures and after {len(after)}. Connect as many of each, or one of either."
        )
    before, after = (np.broadcast_to(pictures, (count, *pictures.shape[1:])) for pictures in (before, after))
    height, width = before.shape[1:3]
    gap = np.full((count, height, GAP, 3), 255, np.uint8)
    pictures = np.concatenate([before, gap, after], axis=2)
    caption = _caption(labels, width)
    return np.concatenate([np.broadcast_to(caption, (count, *caption.shape)), pictures], axis=1)


def _caption(labels: tuple[str, str], width: int) -> np.ndarray:
    """The strip above a pair of pictures: uint8 [h, 2 width + gap, 3], black on white."""
    from PIL import Image, ImageDraw

    size = min(max(width // 16, 12), 40)
    strip = Image.new("RGB", (2 * width + GAP, size * 3 // 2), "white")
    draw = ImageDraw.Draw(strip)
    for place, label in enumerate(labels):
        middle = place * (width + GAP) + width / 2
        font, shown = lettering(label, size)
        while len(shown) > 1 and draw.textlength(shown, font) > width:
            shown = shown[:-2] + MORE
        draw.text((middle, strip.height / 2), shown, fill="black", anchor="mm", font=font)
    return np.asarray(strip)
