"""Schedules as samplers take them, and what is said where a run's is not that of the features."""

from __future__ import annotations

import math

import pytest

from saeuron.errors import SaeuronError
from saeuron.schedule import mismatch, steps_of

TURBO = (14.61, 2.92, 0.93, 0.41, 0.0)


def test_the_last_level_is_where_the_last_step_ends():
    assert steps_of(TURBO) == TURBO[:-1]
    assert steps_of((14.61, 2.92)) == (14.61,), "the first part of a schedule that was split"
    assert steps_of((0.93, 0.0)) == (0.93,)


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ((), "no step: nothing"),
        ((14.61,), "no step: 14.61"),
        ((0.0,), "no step: 0"),
        ((0.0, 0.0), "all 0"),
        ((14.61, math.nan, 0.0), "finite.*found 14.61, nan, 0"),
        ((math.inf, 1.0, 0.0), "finite.*found inf"),
        ((1.0, -1.0), "finite numbers from 0; found 1, -1"),
        ((0.0, 0.93, 14.61), "descending; found 0, 0.93, 14.61"),
        ((14.61, 14.61, 0.0), "descending"),
        ((14.61, 0.0, 0.0), "descending"),
    ],
)
def test_what_is_no_schedule_is_told_in_words(sigmas, message):
    with pytest.raises(SaeuronError, match=message):
        steps_of(sigmas)


@pytest.mark.parametrize(
    ("recorded", "run"),
    [
        (TURBO[:-1], TURBO),
        (TURBO[:-1], [sigma * 1.001 for sigma in TURBO]),
        (TURBO[:-1], TURBO[2:]),  # KSamplerAdvanced from step 2 on, or a lower denoise
        (TURBO[:-1], TURBO[:3]),  # up to step 2
        ([None], TURBO),
        ([], TURBO),
        (TURBO[:-1], ()),
        (TURBO[:-1], (0.0,)),
        (TURBO[:-1], (5.0,)),
        (TURBO[:-1], (0.0, 0.0)),
        (TURBO[:-1], (math.nan, 0.0)),
    ],
)
def test_nothing_is_said_where_every_step_has_its_features_or_there_is_none(recorded, run):
    assert mismatch(recorded, run) == ""


@pytest.mark.parametrize("run", [(14.61, 11.7, 9.2, 7.4, 0.0), (14.61, 5.0, 0.0), (12.0, 0.0)])
def test_steps_at_other_noise_levels_are_told(run):
    note = mismatch(TURBO[:-1], run)
    assert "recorded at sigma 14.61, 2.92, 0.93, 0.41" in note and f"this run has {run[0]:g}" in note
    assert note.isascii() and "\n" not in note


def test_a_long_schedule_is_told_in_short():
    assert len(mismatch([1000.0 - n for n in range(500)], [400.0 - n / 2 for n in range(500)])) < 400
