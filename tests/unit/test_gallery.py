"""Sheets of feature sets: every file has its tile, whatever is in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from saeuron.features.before_after import BeforeAfter
from saeuron.features.detector import Detector
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.figures.gallery import COLUMNS, MARGIN, PER_SHEET, PICTURE, TILE, Found, gallery
from support.codes import SAE

RED, BLUE = (np.full((64, 64, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
CATS = FeatureSet("cats", SAE, {}, {}, (FeatureStep(None, (Feature(1),)),), "found by hand")
DETECTOR = Detector(true_positives=(9, 10), false_positives=(1, 20), auc=0.93)


def tile(sheet: np.ndarray, place: int) -> np.ndarray:
    width, height = TILE
    top, left = place // COLUMNS * height, place % COLUMNS * width
    return sheet[top : top + height, left : left + width]


def shown(feature_set: FeatureSet | None, problem: str = "", file: str = "x.json", shipped: bool = False) -> np.ndarray:
    return tile(gallery([Found(file, shipped, feature_set, problem)])[0], 0)


def text_of(drawn: np.ndarray) -> np.ndarray:
    """The part of a tile that is below the picture."""
    return drawn[MARGIN + PICTURE[1] :]


def test_a_tile_shows_before_and_after() -> None:
    drawn = shown(replace(CATS, picture=BeforeAfter.of(RED, BLUE)))
    picture = drawn[MARGIN : MARGIN + PICTURE[1], MARGIN : MARGIN + PICTURE[0]].astype(int)
    redder = picture[..., 0] - picture[..., 2]
    left, right = redder[:, : PICTURE[0] // 2], redder[:, PICTURE[0] // 2 :]
    assert left.max() > 200 and left.min() > -100
    assert right.min() < -200 and right.max() < 100


def test_every_line_of_a_tile_says_something_of_its_own() -> None:
    texts = [
        shown(CATS),
        shown(replace(CATS, concept="dogs")),
        shown(replace(CATS, sae=replace(SAE, hookpoint="mid"))),
        shown(replace(CATS, sae=replace(SAE, base_model=""))),
        shown(replace(CATS, detector=DETECTOR)),
        shown(replace(CATS, detector=replace(DETECTOR, auc=None))),
        shown(replace(CATS, detector=Detector())),
        shown(CATS, file="y.json"),
        shown(CATS, shipped=True),
    ]
    assert len({text_of(text).tobytes() for text in texts}) == len(texts)


@pytest.mark.parametrize("concepts", [("кошка", "мышка"), ("gräte", "grüte"), ("猫", "犬"), ("قط", "كلب")])
def test_concepts_in_any_script_can_be_told_apart(concepts: tuple[str, str]) -> None:
    """Empty boxes would be the same."""
    tiles = [shown(replace(CATS, concept=concept), file="x.json") for concept in concepts]
    assert (text_of(tiles[0]) != text_of(tiles[1])).any()
    assert (tiles[0][: PICTURE[1]] != tiles[1][: PICTURE[1]]).any(), "in place of a picture"


def test_a_file_that_can_not_be_read_has_a_tile_of_its_colour_with_the_reason() -> None:
    broken, other = shown(None, "x.json is not valid JSON"), shown(None, "x.json can't be read: no right")
    corner = MARGIN + 1, MARGIN + 1
    assert tuple(broken[corner]) == tuple(other[corner]) != tuple(shown(CATS)[corner])
    assert (text_of(broken) != text_of(other)).any()


STRANGE = {
    "empty": "",
    "lines": "cats\nand\r\ndogs\tand\0more",
    "long": "x" * 1_000_000,
    "long words": "cats and dogs " * 100_000,
    "another script": "猫 קיט 🐈 é",
    "half letters": "e" + "\u0301" * 5000,
    "right to left": "\u202e cats \u2066",
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_texts_stay_in_their_tile(name: str) -> None:
    text = STRANGE[name]
    strange = replace(CATS, concept=text, sae=replace(SAE, base_model=text, hookpoint=text))
    plain = Found("y.json", False, CATS)
    for entry in (Found(text, True, strange), Found(text, False, None, text)):
        sheet = gallery([plain, entry, plain])[0]
        for place in (0, 2):
            assert (tile(sheet, place) == tile(gallery([plain])[0], 0)).all()
        assert "\n" not in entry._replace(file="x").describe() or entry.feature_set is None


def test_sheets_of_one_size_hold_all_sets() -> None:
    numbered = [Found(f"{number}.json", False, CATS) for number in range(PER_SHEET + COLUMNS)]
    sheets = gallery(numbered)
    assert len(sheets) == 2
    assert (tile(sheets[1], 1) == tile(gallery([numbered[PER_SHEET + 1]])[0], 0)).all()
    assert gallery(numbered[: COLUMNS + 1]).shape == (1, 2 * TILE[1], COLUMNS * TILE[0], 3)


def test_words_are_looked_for_in_all_that_a_tile_tells() -> None:
    entry = Found("animals/pets.json", False, CATS)
    for words in ([], ["PETS"], ["cat", "animals"], ["sdxl"], [SAE.hookpoint], ["by", "hand"]):
        assert entry.matches(words), words
    assert not entry.matches(["cat", "dog"])
    assert Found("pets.json", False, None, "broken").matches(["pets"])
    assert not Found("pets.json", False, None, "broken").matches(["broken"])


def test_a_line_tells_what_is_known() -> None:
    measured = Found("pets.json", False, replace(CATS, detector=DETECTOR)).describe()
    assert measured == f"pets.json: cats, {SAE.base_model}, {SAE.hookpoint}, finds 9 of 10, by mistake 1 of 20"
    assert Found("pets.json", False, CATS).describe().endswith("detector not measured")
    assert Found("pets.json", False, None, "It is empty.").describe() == "pets.json: can't be read. It is empty."


def test_balanced_accuracy_is_the_mean_of_both_shares() -> None:
    assert DETECTOR.balanced_accuracy == pytest.approx((0.9 + 0.95) / 2)
    assert Detector().balanced_accuracy is None
    assert replace(DETECTOR, false_positives=(0, 0)).balanced_accuracy is None
