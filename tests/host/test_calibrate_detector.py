"""Calibrate Detector on the real miniature: the word in the prompt, or the thing in the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from saeuron.miniature.architecture import DECISIVE
from saeuron.miniature.loading import PROMPTS_FOLDER
from support.host_graph import Shot, sample
from support.host_graph import replace as replace_concept
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


def test_cats_are_found_by_their_word_and_in_pictures(miniature, at_decisive):
    cats = load_feature_set("cats", HOOKPOINT)
    found, text = detect(
        miniature, at_decisive, replace(cats, detector=replace(cats.detector, reads="", pictures=None))
    )
    assert found.detector.reads == "both" and "reads word and picture" in text
    assert "4 of 4 prompts that name it" in text
    assert found.detector.pictures.true_positives[1] == found.detector.pictures.false_positives[1] == 4
    unlearned = replace(found.detector, reads=cats.detector.reads, pictures=cats.detector.pictures)
    assert replace(found, detector=unlearned) == cats, "only what was learned has changed"


def test_where_the_picture_can_not_be_seen_the_word_alone_is_read(miniature, sae):
    """At the published hookpoint of the miniature."""
    found, text = detect(miniature, sae, load_feature_set("cats", sae.identity.hookpoint))
    assert found.detector.reads == "word" and "reads the word" in text


@pytest.mark.parametrize("sampler", ["dpmpp_2s_ancestral", "heun"])
def test_samplers_that_call_twice_in_a_step_and_cfg(miniature, at_decisive, sampler):
    cats = load_feature_set("cats", HOOKPOINT)
    found, _ = detect(miniature, at_decisive, cats, pictures=2, sampler_name=sampler, cfg=2.0)
    assert found.detector.reads == "both"


def test_runs_that_begin_from_a_picture_are_judged_by_the_gate_that_was_learned(miniature, at_decisive):
    from nodes import KSampler

    model, clip, _ = miniature
    cats = load_feature_set("cats", HOOKPOINT)
    cats = replace(cats, detector=replace(cats.detector, reads="", pictures=None))
    learned, _ = detect(miniature, at_decisive, cats, pictures=8)
    drawn = {"samples": sample(miniature, model, Shot(steps=4, batch=4, width=192, height=192))}
    texts = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a picture", "")]

    def again(on: Any) -> Any:
        return KSampler().sample(on, 6, 2, 1.0, "euler", "sgm_uniform", *texts, drawn, 0.5)[0]["samples"]

    plain = again(model)
    edited = [again(replace_concept(model, clip, at_decisive, each, "a cat", "a dog")) for each in (cats, learned)]
    before, after = (sum(not each.equal(own) for each, own in zip(found, plain, strict=True)) for found in edited)
    assert after == 4 > before


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
