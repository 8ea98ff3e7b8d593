"""The inputs of nodes that draw pictures, and the settings they stand for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ...saeuron.schedule import steps_of

MAX_SIZE = 4096


def sampling_inputs() -> list[io.Input]:
    """The inputs that `SamplingSettings.from_inputs` takes but for ``sigmas``, then ``seed``."""
    import comfy.samplers

    return [
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="euler",
            tooltip="The same as when you draw pictures.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            default="sgm_uniform",
            tooltip="The same as when you draw pictures.",
        ),
        io.Int.Input("steps", default=4, min=1, max=1000, tooltip="As many as when you draw pictures."),
        io.Float.Input("cfg", default=1.0, min=0.0, max=100.0, step=0.1, tooltip="The same as when you draw pictures."),
        io.Int.Input("width", default=512, min=64, max=MAX_SIZE, step=32, tooltip="Size of the pictures, in pixels."),
        io.Int.Input("height", default=512, min=64, max=MAX_SIZE, step=32, tooltip="Size of the pictures, in pixels."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=False,
            tooltip="The first picture's seed; each further picture takes the next one.",
        ),
    ]


def sigmas_input() -> io.Input:
    """``sigmas``, the last input of its node: it came later than the others, and workflows are stored by position."""
    return io.Sigmas.Input(
        "sigmas",
        optional=True,
        tooltip="The schedule you draw pictures with, from SDTurboScheduler or another scheduler node. If connected, "
        "the scheduler and steps above are not used.",
    )


@dataclass(frozen=True)
class SamplingSettings:
    sampler: str
    scheduler: str
    """Empty where `sigmas` are given."""

    steps: int
    cfg: float
    width: int
    height: int
    sigmas: tuple[float, ...] = ()
    """The whole schedule, the last step's end with it; empty: that of `scheduler` and `steps`."""

    @classmethod
    def from_inputs(
        cls,
        sampler_name: str,
        scheduler: str,
        steps: int,
        cfg: float,
        width: int,
        height: int,
        sigmas: Tensor | None = None,
    ) -> SamplingSettings:
        """`sigmas` is the host's SIGMAS, [steps + 1]. Errors: `SaeuronError` if it is no schedule."""
        if sigmas is None:
            return cls(sampler_name, scheduler, steps, cfg, width, height)
        levels = tuple(sigmas.flatten().tolist())
        return cls(sampler_name, "", len(steps_of(levels)), cfg, width, height, levels)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, of what was used."""
        settings = asdict(self)
        if self.sigmas:
            del settings["scheduler"]
            settings["sigmas"] = list(self.sigmas)
        else:
            del settings["sigmas"]
        return settings
