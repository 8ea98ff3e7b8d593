"""The benchmark's pictures and what its judges saw of them are kept, and only where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from saeuron.evaluation.benchmark import Concept
from tools.evaluation.plan import QUICK, TEST, own_shots
from tools.evaluation.studio import Studio
from tools.evaluation.treatment import OFF, Treatment
from tools.evaluation.treatment import replace as replace_concept
from tools.evaluation.treatments import decisive, prompt_by_hand, with_mode
from tools.miniature.build_feature_sets import HOOKPOINT

CATS = Concept("objects", "cats")
SHOTS = own_shots(CATS, TEST, QUICK)[:2]


class EasyJudge:
    """In place of the realism judge, which would draw a hundred pictures first."""

    def rejects(self, pictures: np.ndarray) -> np.ndarray:
        return pictures.mean((1, 2, 3)) > 128

    def rejected_share(self, pictures: np.ndarray) -> float:
        return float(self.rejects(pictures).mean())

    def caught_of(self, pictures: np.ndarray) -> dict[str, float]:
        return {"blur": len(pictures) / 100}


@pytest.fixture
def studio_of(monkeypatch):
    monkeypatch.setattr(Studio, "_realism_judge", lambda _: EasyJudge())
    return lambda folder, scale=QUICK: Studio(folder, scale, clock=0)


def seen(sight) -> list:
    return [*(sight.labels[d].tolist() for d in sorted(sight.labels)), sight.features.tolist(),
            sight.rejected.tolist(), sight.embeddings.tolist(), sight.digests.tolist()]  # fmt: skip


def test_a_run_goes_on_where_it_was_stopped_and_two_runs_see_the_same(studio_of, tmp_path):
    first, again, other = studio_of(tmp_path / "a"), studio_of(tmp_path / "a"), studio_of(tmp_path / "b")
    drawn = seen(first.look(SHOTS, OFF))
    assert seen(again.look(SHOTS, OFF)) == drawn
    assert seen(other.look(SHOTS, OFF)) == drawn
    assert (first.drawn, again.drawn, other.drawn) == (2, 0, 2)


def test_the_realism_judge_s_own_error_is_measured_once_and_on_pictures_of_its_own(studio_of, tmp_path):
    first, again = (studio_of(tmp_path, replace(QUICK, unseen_prompts=1, backgrounds=2)) for _ in range(2))
    error = first.realism_error()
    assert again.realism_error() == error
    assert (first.drawn, again.drawn) == (20, 0)
    assert error["pictures"] == 20 and error["caught"] == {"blur": 0.2}
    assert error["empty_rejected"] == 1, "pastel backgrounds are bright, which this judge does not like"


def test_nothing_is_taken_for_something_else(studio_of, tmp_path):
    studio = studio_of(tmp_path)
    exact = with_mode(studio, CATS, "exact", -30.0, HOOKPOINT)
    cats = studio.feature_set("cats", decisive(CATS))
    elsewhere = with_mode(studio, CATS, "exact", -30.0, decisive(CATS))
    treatments = (
        OFF,
        exact,
        with_mode(studio, CATS, "seed", -30.0, HOOKPOINT),
        with_mode(studio, CATS, "exact", -20.0, HOOKPOINT),
        elsewhere,
        prompt_by_hand(CATS, "dogs"),
        Treatment((replace_concept(cats, "a cat", "a dog"),)),
        Treatment((replace_concept(cats, "a cat", "a tower"),)),
    )
    sights = [studio.look(SHOTS[:1], treatment) for treatment in treatments]
    assert studio.drawn == len(list(tmp_path.glob("*.npz"))) == 8
    assert len({sight.digests[0] for sight in sights}) == len({sight.embeddings.tobytes() for sight in sights}) == 8
    studio.look(SHOTS[1:], OFF)
    studio_of(tmp_path, replace(QUICK, real_prompts=QUICK.real_prompts + 1)).look(SHOTS[:1], OFF)
    assert len(list(tmp_path.glob("*.npz"))) == 10


def test_a_prompt_by_hand_is_the_other_prompt_at_the_same_seed(studio_of, tmp_path):
    studio = studio_of(tmp_path)
    rewritten = studio.look(SHOTS[:1], prompt_by_hand(CATS, "dogs"))
    asked = [shot._replace(prompt=shot.prompt.replace("cat", "dog")) for shot in SHOTS[:1]]
    assert studio.look(asked, OFF).digests.tolist() == rewritten.digests.tolist()
    assert studio.drawn == 1, "what is the same is drawn once"


def test_drawing_is_timed_beside_the_model_as_it_is(studio_of, tmp_path):
    timed = Studio(tmp_path, QUICK, clock=1)
    sight = timed.look(SHOTS, OFF)
    assert timed.drawn == 2, "what is drawn for timing is no picture of the benchmark"
    assert (sight.seconds > 0).all() and (sight.seconds / sight.seconds_off > 0.2).all()
    assert np.isnan(studio_of(tmp_path / "untimed").look(SHOTS, OFF).seconds_off).all()
