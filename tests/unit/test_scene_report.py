"""The page, the plot and the choice of pictures of scenes, from values by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tools.evaluation.scene_report import JUDGED_ROW, Cell, cells, document, write, write_pictures

CEILING = "inpainting, replacement"


def made(gone, kept, dual, targets):
    """A document in which `JUDGED_ROW` has these values, and the ceiling is right everywhere."""
    count = len(targets)
    rest = {"out": [0.25] * count, "out_clip": [0.5] * count, "swap": ["nothing"] * count}
    judged = {"gone": gone, "kept": kept, "dual": dual, **rest, "where": [None, *[0.75] * (count - 1)]}
    ceiling = {**judged, "gone": [True] * count, "kept": [True] * count, "where": [None] * count}
    scenes = [{"target": target} for target in targets]
    return document("float32", 10, scenes, {JUDGED_ROW: judged, CEILING: ceiling})


@pytest.fixture
def four():
    """Four targets: bears 2 of 2, cats and dogs 1 of 2, of which dogs are the more alike, towers 0 of 1."""
    targets = ["cats", "cats", "dogs", "dogs", "bears", "bears", "towers"]
    gone = [True, False, True, True, True, True, False]
    kept = [True, True, False, True, True, True, True]
    return made(gone, kept, [0.5, 0.5, 0.5, 0.75, 0.25, 0.25, 1.0], targets)


def test_pictures_are_chosen_by_what_is_gone_and_kept_and_then_by_likeness(four):
    assert cells(four) == [Cell("best", "bears", 2, 2), Cell("median", "dogs", 1, 2), Cell("worst", "towers", 0, 1)]


def test_targets_that_are_alike_in_all_are_chosen_by_name():
    alike = made([True] * 3, [True] * 3, [0.5] * 3, ["towers", "cats", "dogs"])
    assert [cell.target for cell in cells(alike)] == ["cats", "dogs", "towers"]


def test_the_page_says_what_the_values_say(four, tmp_path):
    write(tmp_path, four)
    page = (tmp_path / "scenes.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| {JUDGED_ROW} |"))
    assert "| 71% (" in row and "| 86% (" in row
    assert row.endswith("| 0.2500 | 0.500 | 0.536 | 0% | 100% | 0% | 0% | 75% of 6 |")
    assert "Of 10 held-out prompts for two things, 7 were drawn" in page
    assert "bears (2 of 2), the median dogs (1 of 2), the worst towers (0 of 1)" in page
    ceiling = next(line for line in page.splitlines() if line.startswith(f"| {CEILING} |"))
    assert "| 100% (100% to 100%) | 100% (100% to 100%) |" in ceiling and ceiling.endswith("| - |")


def test_what_is_kept_is_enough_to_write_page_and_plot_again(four, tmp_path):
    write(tmp_path / "first", four)
    write(tmp_path / "second", json.loads((tmp_path / "first" / "scenes.json").read_text(encoding="utf-8")))
    for name in ("scenes.json", "scenes.md", "scenes.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_pictures_have_a_strip_for_every_scene_that_is_shown(four, tmp_path):
    from PIL import Image

    def pictures(cell):
        return {name: np.full((cell.scenes, 8, 8, 3), 200, np.uint8) for name in ("off", JUDGED_ROW)}

    best, median, worst = cells(four)
    sizes = []
    for shown in ((best, median, worst), (worst,)):
        write_pictures(tmp_path, {cell: pictures(cell) for cell in shown})
        with Image.open(tmp_path / "scenes.webp") as sheet:
            sizes.append(sheet.size)
    assert sizes == [(300, 780), (300, 180)], "two strips of bears and of dogs, one of towers, which has one scene"
