"""The sweep, with a pipeline whose pictures say what was done to them."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest

from saeuron.edits.intervention import Intervention
from saeuron.errors import SaeuronError
from saeuron.evaluation.metrics import cosine_similarity
from saeuron.evaluation.sweep import Subjects, Sweep, SweepPoint, subjects_of, sweep_rows, sweep_table
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.figures.plots import picture_grid, sweep_plot
from saeuron.sae.model import SAEIdentity
from saeuron.shots import Shot, shots_of

SET = FeatureSet("cats", SAEIdentity("", "", "", "", 4, 8, 2), {}, {}, (FeatureStep(None, (Feature(1),)),))
ORDER = Intervention(SET, -1.0, rule="gamma")


@dataclass
class FakePipeline:
    """Cats are 200 bright, less 10 for each unit of the multiplier; the rest is 100 bright. A corner shows the seed.

    Batches come last first, as large as `batch`.
    """

    batch: int = 3
    drawn: list = field(default_factory=list)
    alive: list = field(default_factory=list)
    """How many batches were in memory at each batch."""

    def draw_batches(self, shots, interventions=()):
        self.drawn.append((tuple(shots), tuple(interventions)))
        strength = abs(interventions[0].multiplier) if interventions else 0
        batches = []
        for start in reversed(range(0, len(shots), self.batch)):
            places = range(start, min(start + self.batch, len(shots)))
            pictures = np.zeros((len(places), 4, 4, 3), np.uint8)
            for picture, place in zip(pictures, places, strict=True):
                picture[:] = 200 - 10 * strength if "cat" in shots[place].prompt else 100
                picture[0, 0] = shots[place].seed
            batches.append(weakref.ref(pictures))
            self.alive.append(sum(batch() is not None for batch in batches))
            yield places, pictures


def see(pictures):
    return ["cats" if picture[1, 1, 0] > 150 else "dogs" for picture in pictures]


def embed(pictures):
    return np.stack([[1.0, picture[1, 1, 0] / 255] for picture in pictures])


def sweep(**changes):
    subjects = Subjects(shots_of(["a cat", "the cat"], 2, 10), shots_of(["a dog"], 2, 50), ["dogs", "dogs"])
    settings = {"classify": see, "concept_label": "cats", "embed": embed, **changes}
    return Sweep(settings.pop("pipeline", FakePipeline()), settings.pop("subjects", subjects), ORDER, **settings)


def test_the_baseline_comes_first_and_every_multiplier_gets_the_same_shots():
    run = sweep()
    points = list(run.run([-1.0, -10.0]))
    assert [point.multiplier for point in points] == [None, -1.0, -10.0]
    assert [point.unlearning_accuracy for point in points] == [0.0, 0.0, 1.0]
    assert [point.retained_accuracy for point in points] == [1.0, 1.0, 1.0]
    shots, interventions = zip(*run._pipeline.drawn, strict=True)
    assert len(set(shots)) == 1
    assert [len(chosen) for chosen in interventions] == [0, 1, 1]


def test_similarity_is_to_the_picture_of_the_same_shot_before():
    _, near, far = sweep().run([-1.0, -10.0])
    expected = cosine_similarity(embed(np.full((1, 4, 4, 3), 200)), embed(np.full((1, 4, 4, 3), 100)))[0]
    assert far.clip_similarity == pytest.approx(expected)
    assert near.clip_similarity > far.clip_similarity
    assert near.clip_similarity_others == pytest.approx(1.0)


def test_what_is_not_connected_is_not_measured():
    points = list(sweep(classify=None, embed=None).run([-1.0]))
    assert points == [SweepPoint(None), SweepPoint(-1.0)]
    assert "-1" in sweep_table(points) and "%" not in sweep_table(points)


def test_only_concept_prompts_will_do():
    run = sweep(subjects=Subjects(shots_of(["a cat"], 1, 0)))
    *_, last = run.run([-10.0])
    assert last.unlearning_accuracy == 1.0
    assert last.retained_accuracy is None and last.clip_similarity_others is None


def test_a_sweep_that_stops_keeps_its_points():
    run = sweep()
    iterator = run.run([-1.0, -10.0])
    next(iterator), next(iterator)
    iterator.close()
    assert [point.multiplier for point in run.points] == [None, -1.0]
    assert len(run.pictures) == 2


def test_only_what_is_shown_is_kept_and_it_is_the_right_picture():
    """64 seeds of a prompt are judged, one is shown: memory must not grow with the seeds."""
    subjects = Subjects(shots_of(["a cat"], 64, 0), shots_of(["a dog"], 64, 64), ["dogs"] * 64)
    run = sweep(pipeline=FakePipeline(batch=16), subjects=subjects, shown=range(0, 128, 64))
    points = list(run.run([-1.0, -2.0, -10.0]))
    assert len(points) == len(run.pictures) == 4
    assert max(run._pipeline.alive) <= 2
    for kept, bright in zip(run.pictures, (200, 190, 180, 100), strict=True):
        assert {place: (picture[0, 0, 0], picture[1, 1, 0]) for place, picture in kept.items()} == {
            0: (0, bright), 64: (64, 100),
        }  # fmt: skip
        assert all(picture.base is None for picture in kept.values()), "a view keeps its batch"
    assert [point.unlearning_accuracy for point in points] == [0.0, 0.0, 0.0, 1.0]
    assert not any(pictures for pictures in sweep().pictures)


def test_batches_do_not_matter():
    whole, *others = (list(sweep(pipeline=FakePipeline(batch)).run([-1.0, -10.0])) for batch in (100, 1, 4))
    for points in others:
        for point, expected in zip(points, whole, strict=True):
            found, wanted = sweep_rows([point])[0], sweep_rows([expected])[0]
            assert {k: v for k, v in found.items() if v is None} == {k: v for k, v in wanted.items() if v is None}
            assert {k: v for k, v in found.items() if v is not None} == pytest.approx(
                {k: v for k, v in wanted.items() if v is not None}
            )


def test_every_picture_is_embedded_once():
    embedded = []

    def count(pictures):
        embedded.append(len(pictures))
        return embed(pictures)

    list(sweep(embed=count).run([-1.0, -10.0]))
    assert sum(embedded) == 3 * 6


def test_subjects_have_shots_of_their_own_and_the_labels_of_the_classifier():
    subjects = subjects_of(["a cat", "the cat"], ["Dogs | a dog"], 2, 10, str.lower)
    assert [shot.seed for shot in (*subjects.concept, *subjects.others)] == [10, 11, 12, 13, 14, 15]
    assert [shot.prompt for shot in subjects.others] == ["a dog"] * 2 and subjects.labels == ["dogs"] * 2
    assert subjects_of(["a cat"], ["a dog"], 1, 10, None).labels == []
    with pytest.raises(SaeuronError, match="no label"):
        subjects_of(["a cat"], ["a dog"], 1, 10, str.lower)


def test_subjects_that_cannot_be():
    with pytest.raises(SaeuronError, match="at least one"):
        Subjects([])
    with pytest.raises(SaeuronError, match=r"2 other pictures.*found 1"):
        Subjects([Shot("a cat", 0)], shots_of(["a dog"], 2, 0), ["dogs"])


def test_shots_have_seeds_of_their_own():
    shots = shots_of(["a", "b", "c"], 4, 7)
    assert [shot.seed for shot in shots] == list(range(7, 19))
    assert [shot.prompt for shot in shots] == list("aaaabbbbcccc")


def test_rows_are_json():
    points = list(sweep().run([-1.0]))
    assert json.loads(json.dumps(sweep_rows(points)))[0]["multiplier"] is None


def test_the_grid_shows_each_picture_once_and_rows_may_be_short():
    red, blue = np.full((8, 8, 3), (255, 0, 0), np.uint8), np.full((8, 8, 3), (0, 0, 255), np.uint8)
    grid = picture_grid(["a cat", "a very long prompt " * 9], ["off", "-5"], [[red, blue], [red]])
    assert grid.dtype == np.uint8 and grid.ndim == 3
    count = {name: int((grid == colour).all(-1).sum()) for name, colour in (("red", red[0, 0]), ("blue", blue[0, 0]))}
    assert count["red"] > 1.8 * count["blue"] > 1000


def test_the_plot_draws_what_is_known():
    empty = sweep_plot([SweepPoint(None), SweepPoint(-1.0)], "nothing measured")
    full = sweep_plot(list(sweep().run([-1.0, -10.0])), "all")
    colour = np.array([0xD5, 0x5E, 0x00])
    assert not (empty == colour).all(-1).any()
    assert (full == colour).all(-1).any()
