"""What is measured on pictures of two things, each measure by hand; and the plan of such pictures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from saeuron.errors import SaeuronError
from saeuron.evaluation.scenes import (
    NOTHING,
    SWAPS,
    Scene,
    blank_half,
    count,
    find_scene,
    gone,
    kept,
    share_on_half,
    similarity,
    similarity_outside,
    squared_error_outside,
    stands_there,
)
from tools.evaluation.plan import ALL, FULL, TEST, VALIDATION, own_shots, pair_shots, probes, real_shots, unseen_shots
from tools.evaluation.scene_plan import on_half, scene_prompts
from tools.miniature.drawings import OBJECTS

LEFT, TOP = Scene("cats", "towers", "left"), Scene("cats", "towers", "top")


def seen(left=NOTHING, right=NOTHING, top=NOTHING, bottom=NOTHING):
    return {"left": left, "right": right, "top": top, "bottom": bottom}


def test_a_scene_is_found_where_both_things_are_alone_on_their_halves():
    assert find_scene(seen("cats", "towers"), "cats", "towers") == LEFT
    assert find_scene(seen("towers", "cats"), "cats", "towers") == Scene("cats", "towers", "right")
    assert find_scene(seen(top="cats", bottom="towers"), "cats", "towers") == TOP
    corners = seen("cats", "towers", "cats", "towers")
    for unclear in (seen("cats"), seen("cats", "cats"), seen("dogs", "towers"), corners):
        assert find_scene(unclear, "cats", "towers") is None


def test_gone_and_kept_by_hand():
    halves = [seen("dogs", "towers"), seen("cats", "towers"), seen(NOTHING, "cats"), seen(NOTHING, "trees")]
    assert gone(halves, [LEFT] * 4).tolist() == [True, False, False, True], "a target that moved is not gone"
    assert kept(halves, [LEFT] * 4).tolist() == [True, True, False, False]
    assert kept([seen(top="dogs", bottom="towers")], [TOP]).tolist() == [True]


def test_what_stands_there_by_hand():
    halves = [seen(label, "towers") for label in ("dogs", NOTHING, "cats", "trees", "towers")]
    swaps = stands_there(halves, [LEFT] * 5, ["dogs"] * 5).tolist()
    assert swaps == ["replacement", "nothing", "target", "something else", "something else"]
    assert count(swaps) == {"replacement": 0.2, "nothing": 0.2, "target": 0.2, "something else": 0.4}
    assert tuple(count(swaps)) == SWAPS
    assert stands_there(halves[-1:], [LEFT], ["towers"]).tolist() == ["replacement"], "a second one of the neighbour"
    assert stands_there(halves[:1], [LEFT], [None]).tolist() == ["something else"], "nothing was to be there"


def test_only_the_other_half_counts_outside():
    plain = np.zeros((2, 4, 6, 3), np.uint8)
    edited = plain.copy()
    edited[:, :, :3] = 200  # the left half
    assert squared_error_outside(edited, plain, [LEFT, Scene("cats", "towers", "right")]) == pytest.approx(
        [0, (200 / 255) ** 2]
    )
    edited = plain.copy()
    edited[:, 3, 0] = 255  # one of the twelve pixels of the lower half
    assert squared_error_outside(edited, plain, [TOP, TOP]) == pytest.approx([1 / 12] * 2)


def test_a_blank_half_takes_the_colour_of_the_other_and_hides_what_was_there():
    pictures = np.random.default_rng(0).integers(256, size=(1, 4, 6, 3), dtype=np.uint8)
    changed = pictures.copy()
    changed[:, :, :3] = 7
    blank = blank_half(pictures, [LEFT])
    assert np.array_equal(blank, blank_half(changed, [LEFT])), "what is on the target's half makes no difference"
    assert np.array_equal(blank[:, :, 3:], pictures[:, :, 3:])
    assert np.array_equal(blank[0, 0, 0], pictures[0, :, 3:].mean((0, 1)).round())


def mean_colour(pictures):
    """Stands for CLIP: an embedding that can be worked out by hand."""
    return pictures.mean((1, 2))


def test_similarity_by_hand():
    red, blue = np.zeros((2, 1, 4, 6, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 90
    mixed = np.concatenate([red[:, :, :3], blue[:, :, 3:]], axis=2)
    assert similarity(red, red, mean_colour) == pytest.approx([1])
    assert similarity(red, blue, mean_colour) == pytest.approx([0])
    assert similarity(mixed, red, mean_colour) == pytest.approx([200 / np.hypot(200, 90)])
    assert similarity_outside(mixed, blue, [LEFT], mean_colour) == pytest.approx([1]), "the left half does not count"
    assert similarity_outside(mixed, red, [LEFT], mean_colour) == pytest.approx([0])


def test_share_on_half_by_hand():
    masks = np.zeros((4, 3, 4))
    masks[0, 0, 0], masks[0, 0, 3] = 3, 1
    masks[1, 1, 2] = 1
    masks[2] = 1
    shares = share_on_half(masks, [LEFT, TOP, TOP, LEFT])
    assert shares[:3] == pytest.approx([0.75, 0.5, 0.5]), "the middle row of three is on both halves by half"
    assert np.isnan(shares[3]), "a mask without any weight is nowhere"


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(SaeuronError, match="found 1 for 2 scenes"):
        gone([seen()], [LEFT, LEFT])
    with pytest.raises(SaeuronError, match="2 scenes and 1 replacements"):
        stands_there([seen()] * 2, [LEFT, LEFT], ["dogs"])
    with pytest.raises(SaeuronError, match="of one size"):
        squared_error_outside(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 5, 3), np.uint8), [LEFT])
    with pytest.raises(SaeuronError, match="one mask of weights"):
        share_on_half(-np.ones((1, 2, 2)), [LEFT])
    with pytest.raises(SaeuronError, match="no scenes"):
        count([])


@pytest.mark.parametrize("target", ["cats", "waterfalls"])
def test_scenes_are_planned_with_every_neighbour_and_the_places_said_in_half_of_them(target):
    scenes = scene_prompts(target, 38)
    assert scenes == scene_prompts(target, 38)
    assert {scene.neighbour for scene in scenes} == set(OBJECTS) - {target}
    assert {scene.style for scene in scenes} == {"twemoji", "fluent", "gray", "contrast", "crayon"}
    assert sum(scene.arrangement != "" for scene in scenes) == 19
    for scene in scenes:
        text, target_word, neighbour_word = scene.shot.prompt, OBJECTS[target][1][0], OBJECTS[scene.neighbour][1][0]
        assert f"a {target_word}" in text and f"a {neighbour_word}" in text and f"in {scene.style} style" in text
        assert f"a {neighbour_word}" in scene.alone and f"a {target_word}" not in scene.alone


def test_a_side_that_is_said_is_the_one_that_is_recorded():
    for scene in scene_prompts("cats", 40):
        text = scene.shot.prompt
        if scene.arrangement == "across" and "left of" in text:
            assert (text.index("a cat") < text.index("left of")) == scene.target_first
        if scene.arrangement == "across":
            assert ("on the right" in scene.alone) == scene.target_first
        if scene.arrangement == "stacked":
            assert ("at the bottom" in scene.alone) == scene.target_first


def test_an_inpainted_half_is_asked_for_by_its_place():
    assert on_half("cats", "left", "gray") == "please draw a cat on the left, in gray style"
    assert on_half("towers", "bottom", "crayon") == "please draw a tower at the bottom, in crayon style"


def test_no_noise_serves_two_purposes():
    groups = [[scene.shot for scene in scene_prompts(name, 60)] for name in OBJECTS]
    groups += [own_shots(concept, split, FULL) for concept in ALL for split in (TEST, VALIDATION)]
    groups += [[probe.shot for probe in probes(split, FULL)] for split in (TEST, VALIDATION)]
    groups += [pair_shots(concept, FULL)[0] for concept in ALL]
    groups += [real_shots(FULL), unseen_shots(FULL)]
    seeds = sorted(shot.seed for group in groups for shot in group)
    assert all(a < b for a, b in pairwise(seeds))
