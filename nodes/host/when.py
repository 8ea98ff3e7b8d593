"""The inputs of nodes that edit: how much, from when to when, which half of a guided batch, and after a look."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from ...saeuron.edits.when import HALVES, When
from ...saeuron.errors import SaeuronError


def strength_input(tooltip: str, most: float = 100.0) -> io.Input:
    """``strength`` in percent, up to `most`: 0 is off, 100 the whole of it."""
    return io.Float.Input(
        "strength",
        default=100.0,
        min=0.0,
        max=most,
        step=1.0,
        display_mode=io.NumberDisplay.slider,
        tooltip=tooltip,
    )


def look_first_input() -> io.Input:
    """``look_first``, the last input of its node: it came later than the others."""
    return io.Boolean.Input(
        "look_first",
        default=False,
        optional=True,
        tooltip="Draws pictures that show it twice: first as they are, to see where it stands, then again with only "
        "that place replaced. All else of them stays. Takes twice the time for such pictures, no more for others.",
    )


def percent_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "start_percent", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="Where in sampling it begins."
        ),
        io.Float.Input("end_percent", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Where in sampling it ends."),
    ]


def when_inputs() -> list[io.Input]:
    """``start_percent``, ``end_percent`` and ``halves``, which `when_of` takes."""
    return [
        *percent_inputs(),
        io.Combo.Input(
            "halves",
            options=list(HALVES),
            default="both",
            tooltip="Which half of a guided batch is edited. At cfg 1 there is only the positive one.",
        ),
    ]


def when_of(model: Any, start_percent: float, end_percent: float, halves: str = "both") -> When:
    """In the noise levels of `model` (the host's MODEL). Errors: `SaeuronError` if the end is before the start."""
    if start_percent > end_percent:
        raise SaeuronError(f"start_percent {start_percent:g} is after end_percent {end_percent:g}; swap them.")
    sampling = model.get_model_object("model_sampling")
    return When(float(sampling.percent_to_sigma(start_percent)), float(sampling.percent_to_sigma(end_percent)), halves)
