"""What Collect Statistics had when it was interrupted, so that the same node queued again goes on from there.

It is kept in memory, as long as the MODEL that it was collected on: whether another MODEL is the same, with all that
nodes have put on it, can't be told, so nothing is kept over a restart or where the host makes the MODEL anew.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...saeuron.features.statistics import ActivationStatistics
from ...saeuron.shots import Shot
from .encoding import check_clip
from .inputs import SamplingSettings
from .sockets import HostedSAE


class Unfinished(NamedTuple):
    asked: tuple[Any, ...]
    statistics: ActivationStatistics
    batches: int
    """How many batches are in `statistics`, each of them whole."""


# MODEL -> the last run on it that did not end. One is enough: a graph stops where it is interrupted.
_KEPT: weakref.WeakKeyDictionary[Any, Unfinished] = weakref.WeakKeyDictionary()


def everything_asked(
    model: Any, clip: Any, sae: HostedSAE, settings: SamplingSettings, shots: Sequence[Shot]
) -> tuple[Any, ...]:
    """Equal for two runs on the same MODEL only if their statistics must be, too. Errors: `SaeuronError`, no CLIP."""
    check_clip(clip)
    # The host gives weights another number when their patches change. References, because a number that id() gives can
    # come again once its object is gone.
    weights = model.patches_uuid, clip.patcher.patches_uuid, sae.patcher.patches_uuid
    return (weights, weakref.ref(clip), weakref.ref(sae.patcher), settings, tuple(shots))


def recall(model: Any, asked: tuple[Any, ...]) -> Unfinished | None:
    kept = _KEPT.get(model)
    return kept if kept is not None and kept.asked == asked else None


def remember(model: Any, run: Unfinished) -> None:
    _KEPT[model] = run


def forget(model: Any) -> None:
    _KEPT.pop(model, None)
