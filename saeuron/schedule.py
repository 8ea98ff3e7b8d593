"""Noise schedules: which denoising step a noise level belongs to.

The place of the current sigma in the schedule tells the step. Counting calls does not: samplers of second order call
the model several times a step, and a counter survives into the next run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any

from .errors import SaeuronError

SAME_SIGMA = 1e-5
"""Relative difference up to which two sigmas are the same: schedules are computed in float32 and on several devices."""

CLOSE_SIGMA = 1e-2
"""The same for features that are used at a sigma: they change too little in between for anyone to see."""


def is_finite_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_schedule(sigmas: Sequence[Any]) -> tuple[float, ...]:
    """`sigmas`, one for each denoising step, as floats; the final 0 is not a step.

    Errors: `SaeuronError` unless there is one or more, all are finite numbers above 0, each below the one before.
    """
    schedule = tuple(sigmas)
    if not schedule or not all(is_finite_number(sigma) and sigma > 0 for sigma in schedule):
        raise SaeuronError(f"Each step needs a sigma, a finite number above 0; found {brief(schedule)}.")
    if not all(a > b for a, b in pairwise(schedule)):
        raise SaeuronError(f"The sigmas of the steps must be descending; found {_listed(schedule)}.")
    return tuple(map(float, schedule))


def steps_of(sigmas: Sequence[float]) -> tuple[float, ...]:
    """The noise level that each step of a run starts from; `sigmas` ends with the one that the last step ends at.

    Errors: `SaeuronError` unless there is a step and the levels are finite, descending and not below 0.
    """
    levels = tuple(sigmas)
    if len(levels) < 2:
        raise SaeuronError(
            f"The sigmas hold no step: {_listed(levels) or 'nothing'}. A step needs the noise level that it starts "
            "from and the one that it ends at. Set the scheduler node to one step or more and its denoise above 0."
        )
    if not all(math.isfinite(level) and level >= 0 for level in levels):
        raise SaeuronError(f"The sigmas must be finite numbers from 0; found {_listed(levels)}.")
    if not any(levels):
        raise SaeuronError("The sigmas are all 0: there is no noise to take away. Connect a scheduler node's output.")
    if not all(a > b for a, b in pairwise(levels)):
        raise SaeuronError(
            f"The sigmas must be descending; found {_listed(levels)}. Connect a scheduler node's output as it is."
        )
    return levels[:-1]


def nearest_step(schedule: Sequence[float], sigma: float) -> int:
    """The step whose sigma is nearest to `sigma` by ratio; of two equally near ones the earlier.

    Errors: `SaeuronError` unless `sigma` is finite and above 0.
    """
    if not 0 < sigma < math.inf:
        raise SaeuronError(f"The noise level must be a finite number above 0, found {sigma}.")
    return min(range(len(schedule)), key=lambda step: abs(math.log(schedule[step]) - math.log(sigma)))


def difference(a: Sequence[float], b: Sequence[float]) -> str:
    """What tells schedule `a` from `b`, in words; empty if they are the same."""
    if len(a) != len(b):
        return f"{len(a)} steps ({_listed(a)}) against {len(b)} ({_listed(b)})"
    for step, (left, right) in enumerate(zip(a, b, strict=True)):
        if not math.isclose(left, right, rel_tol=SAME_SIGMA):
            return f"sigma {left:.6g} against {right:.6g} at step {step} ({_listed(a)} against {_listed(b)})"
    return ""


def mismatch(recorded: Sequence[float | None], sigmas: Sequence[float]) -> str:
    """A line for the person at the graph if a run has steps at other noise levels than features were recorded at.

    `recorded` is the sigma of each of a feature set's steps, None for all steps together; `sigmas` are a run's, as
    `steps_of` takes them. Empty if every step of the run has features of its own, as in a run over a part of the
    schedule; for features of all steps together; and for a run without a step.
    """
    known = [sigma for sigma in recorded if sigma is not None]
    steps = [sigma for sigma in sigmas[:-1] if 0 < sigma < math.inf]
    if not known or all(math.isclose(known[nearest_step(known, step)], step, rel_tol=CLOSE_SIGMA) for step in steps):
        return ""
    return (
        f"The features were recorded at sigma {_listed(known)}, and this run has {_listed(steps)}: each step takes "
        "those of the nearest. Collect Statistics with the sigmas (or scheduler and steps) that you draw with."
    )


def _listed(schedule: Sequence[float]) -> str:
    shown = [f"{sigma:.4g}" for sigma in schedule]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-3:]])
