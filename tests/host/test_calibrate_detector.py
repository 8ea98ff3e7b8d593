"""Calibrate Detector on the real miniature: the word in the prompt, or the thing in the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from saeuron.miniature.architecture import DECISIVE
from saeuron.miniature.loading import PROMPTS_FOLDER
from support.host_graph import Shot, sample
from tools.miniature.build_feature_sets import load_feature_set, load_sae
from tools.pack import pack

HOOKPOINT = DECISIVE["objects"]
SETTINGS: dict[str, Any] = {
    "sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 4, "cfg": 1.0,
    "width": 192, "height": 192, "seed": 5,
}  # fmt: skip
CATS = (PROMPTS_FOLDER / "fit" / "cats.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def at_decisive() -> Any:
    return load_sae(HOOKPOINT)


def detect(miniature: Any, sae: Any, feature_set: Any, prompts: str = CATS, pictures: int = 4, **changes: Any) -> Any:
    node = pack("nodes.calibrate").SaeuronCalibrateDetector
    model, clip, _ = miniature
    return node.execute(model, clip, sae, feature_set, prompts, pictures, **{**SETTINGS, **changes}).result


def test_cats_are_found_by_their_word(miniature, at_decisive):
    cats = load_feature_set("cats", HOOKPOINT)
    found, text = detect(miniature, at_decisive, replace(cats, detector=replace(cats.detector, reads="")))
    assert found.detector.reads == "word" and "reads the word" in text
    assert "4 of 4 prompts that name it" in text
    assert replace(found.detector, reads="") == replace(cats.detector, reads="")
    assert replace(found, detector=cats.detector) == cats


@pytest.mark.parametrize("sampler", ["dpmpp_2s_ancestral", "heun"])
def test_samplers_that_call_twice_in_a_step_and_cfg(miniature, at_decisive, sampler):
    cats = load_feature_set("cats", HOOKPOINT)
    found, _ = detect(miniature, at_decisive, cats, pictures=2, sampler_name=sampler, cfg=2.0)
    assert found.detector.reads == "word"


def test_a_set_of_another_thing_reads_nothing_of_cats(miniature, at_decisive):
    found, text = detect(miniature, at_decisive, load_feature_set("towers", HOOKPOINT))
    assert found.detector.reads == "" and "0 of 4 prompts that name it" in text


def test_nothing_is_left_on_the_model(miniature, at_decisive):
    before = sample(miniature, miniature[0], Shot())
    detect(miniature, at_decisive, load_feature_set("cats", HOOKPOINT), pictures=2)
    assert sample(miniature, miniature[0], Shot()).equal(before)


def test_own_other_prompts_count(miniature, at_decisive):
    _, text = detect(
        miniature, at_decisive, load_feature_set("cats", HOOKPOINT), other_prompts="a dog\n# no", pictures=3
    )
    assert "of 3 half-noised pictures of other things" in text


def test_what_can_not_be_tested_is_refused(miniature, at_decisive, sae):
    cats = load_feature_set("cats", HOOKPOINT)
    with pytest.raises(ValueError, match="set steps to 2 or more"):
        detect(miniature, at_decisive, cats, steps=1)
    with pytest.raises(ValueError, match="at least one line that names it"):
        detect(miniature, at_decisive, cats, prompts="# nothing")
    with pytest.raises(ValueError, match="another SAE"):
        detect(miniature, sae, cats)
