"""UA, IRA, CRA on planted sights, and the plan of prompts."""

from __future__ import annotations

import numpy as np
import pytest

from saeuron.evaluation.benchmark import Concept, Figures, Probe, Sight, choose_multiplier, judge, kept_rows, mean_over
from saeuron.shots import Shot
from tools.evaluation.plan import ALL, FULL, QUICK, TEST, VALIDATION, own_shots, probes
from tools.miniature.drawings import STYLES

ASKED = [
    Probe(Shot("", seed), {"objects": thing, "styles": style})
    for seed, (thing, style) in enumerate([("cats", "gray"), ("dogs", "gray"), ("dogs", "ink"), ("trees", "ink")] * 5)
]


def sight(objects, styles, embeddings=None):
    rows = np.ones((len(objects), 2)) if embeddings is None else np.array(embeddings, float)
    count = len(objects)
    labels = {"objects": np.array(objects), "styles": np.array(styles)}
    return Sight(labels, np.zeros((count, 3)), np.arange(count) % 2 == 1, rows)


PROBES = sight(["cats", "dogs", "cats", "trees"] * 5, ["gray", "ink", "ink", "ink"] * 5)


def test_an_object_by_hand():
    own = sight(["cats", "dogs", "trees", "cats"], ["gray"] * 4)
    figures = judge(Concept("objects", "cats"), own, PROBES, ASKED, (own, PROBES))
    assert figures.values["ua"].tolist() == [0, 1, 1, 0]
    assert figures.values["ira"].tolist() == [1, 0, 1] * 5  # of the three probes that ask for no cat
    assert figures.values["cra"].tolist() == [0, 1, 1] * 5  # the same three, by style
    assert figures.values["clip"] == pytest.approx(np.ones(4))


def test_a_style_by_hand():
    own = sight(["cats"] * 2, ["gray", "ink"])
    figures = judge(Concept("styles", "gray"), own, PROBES, ASKED, (own, PROBES))
    assert figures.values["ua"].tolist() == [0, 1]
    assert figures.values["ira"].tolist() == [1, 1] * 5
    assert figures.values["cra"].tolist() == [0, 1] * 5


def test_rejected_pictures_are_counted_apart():
    own = sight(["cats"] * 3, ["gray"] * 3)
    figures = judge(Concept("objects", "cats"), own, PROBES, ASKED, (own, PROBES))
    assert figures.values["artifacts"].tolist() == [0, 1, 0]
    assert figures.values["artifacts_others"].tolist() == [1, 0, 1] * 5


def test_similarity_pairs_the_same_shots():
    concept, before = Concept("objects", "cats"), sight(["cats"] * 2, ["gray"] * 2, [[1, 0], [0, 1]])
    after = sight(["cats"] * 2, ["gray"] * 2, [[0, 1], [0, 3]])
    assert judge(concept, after, PROBES, ASKED, (before, PROBES)).values["clip"] == pytest.approx([0, 1])


def test_kept_rows():
    assert kept_rows(Concept("styles", "gray"), ASKED[:4]).tolist() == [2, 3]
    assert kept_rows(Concept("objects", "dogs"), ASKED[:4]).tolist() == [0, 3]


def figures_of(ua, ira, cra):
    return Figures({"ua": np.array([ua]), "ira": np.array([ira]), "cra": np.array([cra])}, 0.0)


def test_the_multiplier_with_the_best_mean_is_chosen():
    table = {-5.0: figures_of(0.5, 1, 1), -20.0: figures_of(1, 0.9, 0.95), -80.0: figures_of(1, 0.2, 0.2)}
    assert choose_multiplier(list(table), table.__getitem__) == -20.0


@pytest.mark.parametrize("order", [(-5.0, -20.0, -10.0), (-20.0, -10.0, -5.0)])
def test_of_equally_good_ones_the_one_in_the_middle(order):
    assert choose_multiplier(order, lambda m: figures_of(1, 1, 1)) == -10.0
    assert choose_multiplier(order, lambda m: figures_of(m > -20, 1, 1)) == -10.0  # of two the stronger


def test_one_multiplier_is_chosen_without_drawing_anything():
    def figures(multiplier: float) -> Figures:
        raise AssertionError("asked for")

    assert choose_multiplier([-3.0], figures) == -3.0


def test_every_concept_counts_the_same():
    many = Figures({"ua": np.zeros(30)}, 0.25)
    assert mean_over([many, Figures({"ua": np.ones(1)}, 0.75)]) == {"ua": 0.5, "kernel_distance": 0.5}


@pytest.mark.parametrize("scale", [FULL, QUICK])
def test_probes_ask_for_every_object_and_the_styles_equally_often(scale):
    found = probes(TEST, scale)
    per_object = scale.probe_styles[TEST] * scale.probe_seeds[TEST]
    objects = [probe.labels["objects"] for probe in found]
    assert {objects.count(c.label) for c in ALL if c.domain == "objects"} == {per_object}
    styles = [probe.labels["styles"] for probe in found]
    assert {styles.count(style) for style in STYLES} == {20 * per_object // len(STYLES)}
    for probe in found:
        assert probe.labels["styles"] in probe.shot.prompt.lower()


def test_no_noise_and_no_prompt_serves_two_purposes():
    seeds: list[int] = []
    prompts = {}
    for split in (TEST, VALIDATION):
        shots = [shot for concept in ALL for shot in own_shots(concept, split, FULL)]
        shots += [probe.shot for probe in probes(split, FULL)]
        seeds += [shot.seed for shot in shots]
        prompts[split] = {shot.prompt for shot in shots}
    assert len(set(seeds)) == len(seeds)
    assert not prompts[TEST] & prompts[VALIDATION]


def test_forty_pictures_of_every_concept():
    assert {len(own_shots(concept, TEST, FULL)) for concept in ALL} == {40}
