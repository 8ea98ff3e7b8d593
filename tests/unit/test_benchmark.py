"""UA, IRA, CRA on planted sights, and the plan of prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from saeuron.evaluation.benchmark import (
    Concept,
    Figures,
    Probe,
    Sight,
    choose_multiplier,
    judge,
    kept_rows,
    mean_over,
    seconds_of,
)
from saeuron.shots import Shot
from tools.evaluation.plan import ALL, FULL, QUICK, TEST, VALIDATION, own_shots, probes
from tools.miniature.drawings import STYLES

ASKED = [
    Probe(Shot("", seed), {"objects": thing, "styles": style})
    for seed, (thing, style) in enumerate([("cats", "gray"), ("dogs", "gray"), ("dogs", "ink"), ("trees", "ink")] * 5)
]


def sight(objects, styles, embeddings=None, digests=None, seconds=1.0):
    rows = np.ones((len(objects), 2)) if embeddings is None else np.array(embeddings, float)
    count = len(objects)
    labels = {"objects": np.array(objects), "styles": np.array(styles)}
    digests = np.array(digests or ["same"] * count)
    times = np.full(count, seconds), np.ones(count)
    return Sight(labels, np.zeros((count, 3)), np.arange(count) % 2 == 1, rows, digests, *times)


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


def test_what_stands_there_instead_is_counted_where_something_is_to_stand_there():
    own = sight(["cats", "dogs", "trees", "dogs"], ["gray"] * 4)
    asked = Concept("objects", "cats"), own, PROBES, ASKED, (own, PROBES)
    assert judge(*asked, instead="dogs").values["replaced"].tolist() == [0, 1, 0, 1]
    assert "replaced" not in judge(*asked).values


def test_identical_pictures_are_those_with_the_same_digest_and_only_of_others():
    own = sight(["dogs"] * 4, ["gray"] * 4)
    after = sight(["cats", "dogs", "cats", "trees"] * 5, ["gray"] * 20, digests=["new", "same", "same", "new"] * 5)
    figures = judge(Concept("objects", "cats"), own, after, ASKED, (own, PROBES))
    assert figures.values["identical_others"].tolist() == [1, 1, 0] * 5


def test_seconds_are_of_all_pictures_and_compared_with_off_s():
    own, slow = sight(["cats"] * 20, ["gray"] * 20, seconds=3.0), replace(PROBES, seconds=np.full(20, 2.0))
    figures = judge(Concept("objects", "cats"), own, slow, ASKED, (own, PROBES))
    assert seconds_of([figures]) == {"seconds": 2.5, "times_off": 2.5}
    untimed = replace(figures, seconds_off=float("nan"))
    assert seconds_of([figures, untimed]) == {"seconds": 2.5, "times_off": None}
    assert figures.as_dict(0)["seconds"] == 2.5


def figures_of(ua, ira, cra):
    values = {"ua": np.array([ua]), "ira": np.array([ira]), "cra": np.array([cra])}
    return Figures(values, 0.0, np.array([0]))


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


def of_own(values, **more):
    return Figures({"ua": np.array(values, float), **more}, 0.25, np.array([0]), 1.0, 1.0)


def test_every_concept_counts_the_same():
    means = mean_over([of_own([0] * 30), of_own([1])])
    assert {name: means[name] for name in ("ua", "kernel_distance", "times_off")} == {
        "ua": 0.5, "kernel_distance": 0.25, "times_off": 1.0}  # fmt: skip
    assert means["intervals"]["ua"] == [0.5, 0.5], "neither concept's pictures vary"


def test_a_figure_that_a_concept_lacks_has_no_mean():
    assert "replaced" not in mean_over([of_own([0], replaced=np.ones(1)), of_own([0])])
    assert mean_over([of_own([0], replaced=np.ones(1))])["replaced"] == 1


def test_intervals_of_shared_probes_are_those_of_one_set_of_pictures():
    """Twenty concepts that are judged on the same 60 pictures know no more than one does."""
    probes = (np.arange(60) % 4 != 0).astype(float)
    concepts = [Figures({"ua": np.tile([0.0, 1.0], 20), "ira": probes}, 0.0, np.arange(60)) for _ in range(20)]
    one, many = (mean_over(concepts[:count])["intervals"] for count in (1, 20))
    width = lambda found, name: found[name][1] - found[name][0]  # noqa: E731
    assert width(many, "ira") == pytest.approx(width(one, "ira"), rel=0.1)
    assert width(one, "ira") == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 60) ** 0.5, rel=0.15)
    assert width(many, "ua") == pytest.approx(width(one, "ua") / 20**0.5, rel=0.15), "their own pictures add up"


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
