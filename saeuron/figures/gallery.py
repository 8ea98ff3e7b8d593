"""Sheets of feature sets: a tile for each, with its picture before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..features.feature_set import FeatureSet
from .lettering import MORE, lettering

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS = 5, 12
PER_SHEET = COLUMNS * ROWS

# Pixels
PICTURE = (244, 124)
MARGIN = 6
LINE = 14
TILE = (PICTURE[0] + 2 * MARGIN, PICTURE[1] + 22 + 5 * LINE + 2 * MARGIN)

GROUND, CARD, BLANK, BROKEN = "#16181d", "#262a33", "#353b47", "#5a2a2a"
BRIGHT, DIM = "#ffffff", "#a9b4c4"

LONGEST = 300
"""Letters of a text that are looked at: what strangers wrote may be long."""


class Found(NamedTuple):
    """One file that should be a feature set."""

    file: str
    shipped: bool
    feature_set: FeatureSet | None
    problem: str = ""
    """Why it can't be read, where there is no feature set."""

    def matches(self, words: Sequence[str]) -> bool:
        """Whether each of `words` is in its file name, concept, base model, hookpoint or note."""
        text = self.file
        if self.feature_set is not None:
            sae = self.feature_set.sae
            text = " ".join((text, self.feature_set.concept, sae.base_model, sae.hookpoint, self.feature_set.note))
        return all(word.lower() in text.lower() for word in words)

    def describe(self) -> str:
        """One line."""
        if self.feature_set is None:
            return f"{self.file}: can't be read. {self.problem}"
        detector = self.feature_set.detector
        quality = "detector not measured" if detector is None else detector.describe()
        return f"{self.file}: {_one_line(self.feature_set.concept)}, {_place(self.feature_set)}, {quality}"


def gallery(found: Sequence[Found]) -> np.ndarray:
    """A tile for each of `found`, `PER_SHEET` on a sheet: uint8 [sheets, h, w, 3]. Nothing of none."""
    from PIL import Image

    rows = min(-(-len(found) // COLUMNS), ROWS)
    sheets = []
    for start in range(0, len(found), PER_SHEET):
        sheet = Image.new("RGB", (COLUMNS * TILE[0], rows * TILE[1]), GROUND)
        for place, entry in enumerate(found[start : start + PER_SHEET]):
            sheet.paste(_tile(entry), (place % COLUMNS * TILE[0], place // COLUMNS * TILE[1]))
        sheets.append(np.asarray(sheet))
    return np.stack(sheets)


def _tile(entry: Found) -> Image:
    from PIL import Image, ImageDraw

    tile = Image.new("RGB", TILE, GROUND)
    draw = ImageDraw.Draw(tile)
    draw.rectangle((2, 2, TILE[0] - 3, TILE[1] - 3), fill=CARD)
    large, small = 15, 11
    feature_set, y = entry.feature_set, MARGIN + PICTURE[1] + 4

    def write(text: str, most: int, size: int, colour: str, height: int) -> None:
        nonlocal y
        font, text = lettering(_one_line(text), size)
        for line in _wrapped(text, font, PICTURE[0] - 4, most):
            draw.text((MARGIN + 2, y), line, fill=colour, font=font)
            y += height

    if feature_set is None:
        _label(tile, "can't be read", BROKEN)
        write(entry.problem, 4, small, BRIGHT, LINE)
    else:
        if feature_set.picture is None:
            _label(tile, feature_set.concept, BLANK)
        else:
            picture = Image.fromarray(feature_set.picture.pixels())
            picture.thumbnail(PICTURE)
            left, top = (MARGIN + (box - side) // 2 for box, side in zip(PICTURE, picture.size, strict=True))
            tile.paste(picture, (left, top))
        write(feature_set.concept, 1, large, BRIGHT, 19)
        write(_place(feature_set), 1, small, DIM, LINE)
        write(_quality(feature_set), 1, small, DIM, LINE)
    write(f"shipped: {entry.file}" if entry.shipped else entry.file, 2, small, DIM, LINE)
    return tile


def _label(tile: Image, text: str, colour: str) -> None:
    """`text` where a picture would be."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(tile)
    font, text = lettering(_one_line(text), 22)
    width, height = PICTURE
    draw.rectangle((MARGIN, MARGIN, MARGIN + width - 1, MARGIN + height - 1), fill=colour)
    lines = _wrapped(text, font, width - 20, 3)
    for number, line in enumerate(lines):
        y = MARGIN + height / 2 + (number - (len(lines) - 1) / 2) * 28
        draw.text((MARGIN + width / 2, y), line, fill=DIM, anchor="mm", font=font)


def _place(feature_set: FeatureSet) -> str:
    sae = feature_set.sae
    return _one_line(f"{sae.base_model or 'unknown model'}, {sae.hookpoint or 'unknown hookpoint'}")


def _quality(feature_set: FeatureSet) -> str:
    detector = feature_set.detector
    if detector is None:
        return "detector not measured"
    accuracy = detector.balanced_accuracy
    known = [
        "" if accuracy is None else f"balanced accuracy {accuracy:.0%}",
        "" if detector.auc is None else f"AUC {detector.auc:.2f}",
    ]
    return "detector: " + (", ".join(filter(None, known)) or "not measured")


def _wrapped(text: str, font: Any, width: int, most: int) -> list[str]:
    """A line of `text` in at most `most` lines of `width` pixels, broken after a space or a sign where it can be."""
    rest = text
    lines: list[str] = []
    while rest and len(lines) < most:
        end = len(rest)
        while end > 1 and font.getlength(rest[:end]) > width:
            end -= 1
        if end < len(rest):
            if len(lines) == most - 1:
                lines.append(rest[: end - 1] + MORE)
                break
            end = max(rest.rfind(sign, 0, end) for sign in " /._-") + 1 or end
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[:LONGEST]).split())
