"""The benchmark's pictures and what its judges saw of them are kept, and only where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from saeuron.evaluation.benchmark import Concept
from tools.evaluation.plan import QUICK, TEST, own_shots
from tools.evaluation.studio import OFF, Studio
from tools.evaluation.treatments import decisive, with_mode
from tools.miniature.build_feature_sets import HOOKPOINT

CATS = Concept("objects", "cats")
SHOTS = own_shots(CATS, TEST, QUICK)[:2]


class EasyJudge:
    """In place of the realism judge, which would draw a hundred pictures first."""

    caught = {"blur": 0.5}  # noqa: RUF012

    def rejects(self, pictures: np.ndarray) -> np.ndarray:
        return pictures.mean((1, 2, 3)) > 128


@pytest.fixture
def studio_of(monkeypatch):
    monkeypatch.setattr(Studio, "_realism_judge", lambda _: EasyJudge())
    return lambda folder, scale=QUICK: Studio(folder, scale)


def seen(sight) -> list:
    return [*(sight.labels[d].tolist() for d in sorted(sight.labels)), sight.features.tolist(),
            sight.rejected.tolist(), sight.embeddings.tolist()]  # fmt: skip


def test_a_run_goes_on_where_it_was_stopped_and_two_runs_see_the_same(studio_of, tmp_path):
    first, again, other = studio_of(tmp_path / "a"), studio_of(tmp_path / "a"), studio_of(tmp_path / "b")
    drawn = seen(first.look(SHOTS, OFF))
    assert seen(again.look(SHOTS, OFF)) == drawn
    assert seen(other.look(SHOTS, OFF)) == drawn
    assert (first.drawn, again.drawn, other.drawn) == (2, 0, 2)
    assert first.caught() == again.caught() == EasyJudge.caught


def test_nothing_is_taken_for_something_else(studio_of, tmp_path):
    studio = studio_of(tmp_path)
    exact = with_mode(studio, CATS, "exact", -30.0, HOOKPOINT)
    elsewhere = with_mode(studio, CATS, "exact", -30.0, decisive(CATS))
    treatments = (OFF, exact, replace(exact, mode="seed"), replace(exact, multipliers=(-20.0,)), elsewhere)
    sights = [studio.look(SHOTS[:1], treatment) for treatment in treatments]
    assert studio.drawn == len(list(tmp_path.glob("*.npz"))) == 5
    assert len({sight.embeddings.tobytes() for sight in sights}) == 5
    studio.look(SHOTS[1:], OFF)
    studio_of(tmp_path, replace(QUICK, real_seeds=QUICK.real_seeds + 1)).look(SHOTS[:1], OFF)
    assert len(list(tmp_path.glob("*.npz"))) == 7
