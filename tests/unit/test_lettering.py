"""Letters of any script in pictures: a font that has them, or their numbers, but no empty boxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from saeuron.figures import lettering as module
from saeuron.figures.comparison import side_by_side
from saeuron.figures.lettering import MORE, lettering


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test pretends is not kept for the next."""
    module._fonts_with.cache_clear()
    yield
    module._fonts_with.cache_clear()


def draws(font: Any, letters: str) -> bool:
    box = bytes(font.getmask("\U0010ffff"))
    return all(bytes(font.getmask(letter)) != box for letter in letters if letter != " ")


def test_plain_letters_keep_the_plain_font() -> None:
    font, text = lettering("a cat (2)", 15)
    assert text == "a cat (2)" and font.getname() == lettering("b", 15).font.getname() and font.size == 15
    assert draws(font, text)


@pytest.mark.parametrize("text", ["größer", "кошка", "Γάτα", "žába"])
def test_a_font_that_has_the_letters_is_taken(text: str) -> None:
    font, shown = lettering(text, 15)
    assert shown == text and draws(font, text + MORE)


def test_a_font_of_the_system_is_found() -> None:
    (_, own), *others = module._fonts()
    letter = next(chr(code) for _, known in others for code in sorted(known - own) if chr(code).isprintable())
    font, shown = lettering(f"a {letter}", 15)
    assert shown == f"a {letter}" and draws(font, letter)


def test_letters_that_no_font_has_are_written_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    own = module._fonts()[0]
    monkeypatch.setattr(module, "_fonts", lambda: (own,))
    font, shown = lettering("кот 猫", 15)
    assert shown == "кот <U+732B>" and draws(font, shown)
    monkeypatch.setattr(module, "_fonts", tuple)
    module._fonts_with.cache_clear()
    assert lettering("cat 猫", 15).text == "cat <U+732B>"


def test_fonts_that_can_not_be_used_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    broken = (str(tmp_path / "broken.ttf"), frozenset(map(ord, f"猫{MORE}")))
    monkeypatch.setattr(module, "_fonts", lambda: (broken,))
    assert lettering("猫", 15).text == "<U+732B>"


def test_fonts_of_placeholders_are_none() -> None:
    assert module._fonts() and not [path for path, _ in module._fonts() if "lastresort" in path.lower()]


def test_labels_of_a_comparison_can_be_told_apart() -> None:
    picture = np.zeros((1, 64, 128, 3), np.uint8)
    first, second = (side_by_side(picture, picture, (label, "x")) for label in ("猫", "犬"))
    assert (first != second).any()
