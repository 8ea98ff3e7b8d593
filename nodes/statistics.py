"""Collecting activation statistics: the expensive stage, one sampling run per prompt."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.prompts import parse_prompts
from ..saeuron.statistics import ActivationStatistics
from .host.recording import with_recorder
from .host.sampling import Progress, SamplingSettings, encode_prompts, sample, schedule
from .host.sockets import CATEGORY, SAE, STATISTICS, HostedSAE
from .host.unet import find_site

MAX_SIZE = 4096


class SaeuronCollectStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronCollectStatistics",
            display_name="Collect Statistics",
            category=CATEGORY,
            description="Draws one picture per prompt and records how strongly each SAE feature fires at each step. "
            "Use it twice: once with prompts of the concept, once with other prompts.",
            inputs=[
                io.Model.Input("model", tooltip="The model to look into, with its LoRAs. Nothing on it is changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                SAE.Input("sae", tooltip="From Load SAE."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt a line, 30 or more for a good estimate. Lines that begin with # are left out.",
                ),
                io.Combo.Input("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, default="euler"),
                io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, default="sgm_uniform"),
                io.Int.Input("steps", default=4, min=1, max=1000, tooltip="As many as when you draw pictures."),
                io.Float.Input("cfg", default=1.0, min=0.0, max=100.0, step=0.1, tooltip="As when you draw pictures."),
                io.Int.Input("width", default=512, min=64, max=MAX_SIZE, step=32),
                io.Int.Input("height", default=512, min=64, max=MAX_SIZE, step=32),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=False,
                    tooltip="The first picture's seed; each further prompt takes the next one.",
                ),
            ],
            outputs=[STATISTICS.Output(display_name="statistics", tooltip="For Select Features.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        sae: HostedSAE,
        prompts: str,
        sampler_name: str,
        scheduler: str,
        steps: int,
        cfg: float,
        width: int,
        height: int,
        seed: int,
    ) -> io.NodeOutput:
        site = find_site(model, sae.identity)
        texts = parse_prompts(prompts)
        if not texts:
            raise SaeuronError("There are no prompts. Write at least one line that is not a # comment.")
        settings = SamplingSettings(sampler_name, scheduler, steps, cfg, width, height)
        sigmas = schedule(model, settings)
        statistics = ActivationStatistics(sae.identity, sigmas[:-1].tolist(), settings.as_dict())
        recording = with_recorder(model, site, sae, statistics)
        conditionings = encode_prompts(clip, texts)
        negative = encode_prompts(clip, [""])[0]
        progress = Progress(model, len(texts), len(sigmas) - 1)
        for run, positive in enumerate(conditionings):
            sample(recording, settings, sigmas, positive, negative, [seed + run], progress.callback(run))
        return io.NodeOutput(statistics)
