"""Text in pictures, in any script: with a font that has its letters, or with their numbers instead of empty boxes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

MORE = "\u2026"
"""What cut text ends with; every font that is chosen has it."""

_NO_CHARACTER = "\U0010ffff"
# They have a glyph for every letter, which says that there is none.
_PLACEHOLDERS = ("lastresort", "adobeblank")


class Lettering(NamedTuple):
    font: Any
    """Pillow's."""

    text: str
    """What to draw with it; letters that no font has are written as ``<U+732B>``."""


def lettering(text: str, size: int) -> Lettering:
    """How to draw `text`, a single line, `size` pixels high."""
    from PIL import ImageFont

    plain = ImageFont.load_default(size)
    letters = frozenset(text) | {MORE}
    missing = frozenset(letter for letter in letters if not _draws(letter))
    if not missing:
        return Lettering(plain, text)
    for path, lacking in _fonts_with(letters):
        try:
            font = ImageFont.truetype(path, size)
        except OSError:  # one of pictures, which has its own sizes
            continue
        return Lettering(font, _numbered(text, lacking))
    return Lettering(plain, _numbered(text, missing))


@cache
def _draws(letter: str) -> bool:
    """Whether Pillow's own font has it."""
    from PIL import ImageFont

    font = ImageFont.load_default(12)
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask(_NO_CHARACTER))


@lru_cache(maxsize=256)
def _fonts_with(letters: frozenset[str]) -> tuple[tuple[str, frozenset[str]], ...]:
    """Fonts of this machine with the letters that each lacks: those that lack least first, matplotlib's own earlier."""
    found = [(path, frozenset(letter for letter in letters if ord(letter) not in known)) for path, known in _fonts()]
    best = min((len(lacking) for _, lacking in found), default=0)
    return tuple(font for font in found if len(font[1]) == best)


@cache
def _fonts() -> tuple[tuple[str, frozenset[int]], ...]:
    return tuple(_read_fonts())


def _read_fonts() -> Iterator[tuple[str, frozenset[int]]]:
    """Path and letters of each font that is neither bold nor slanted."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font

    own = findfont(FontProperties(family="DejaVu Sans"))
    others = {
        entry.fname
        for entry in fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular")
    }
    for path in dict.fromkeys([own, *sorted(others)]):
        if any(name in path.lower().replace(" ", "") for name in _PLACEHOLDERS):
            continue
        try:
            yield path, frozenset(FT2Font(path).get_charmap())
        except (OSError, RuntimeError):  # uninstalled since matplotlib listed it, or damaged
            continue


def _numbered(text: str, missing: frozenset[str]) -> str:
    return "".join(f"<U+{ord(letter):04X}>" if letter in missing else letter for letter in text)
