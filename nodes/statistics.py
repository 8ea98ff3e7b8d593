"""The node that collects activation statistics."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.prompts import parse_prompts
from ..saeuron.shots import shots_of
from .host.collecting import collect
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.sockets import CATEGORY, SAE, STATISTICS, HostedSAE
from .host.unet import find_site


class SaeuronCollectStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronCollectStatistics",
            display_name="Collect Statistics",
            category=CATEGORY,
            description="Draws one picture per prompt and records how strongly each SAE feature fires at each step. "
            "Use it twice: once with prompts that name the concept, once with others.",
            inputs=[
                io.Model.Input("model", tooltip="The model to examine, with its LoRAs. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                SAE.Input("sae", tooltip="From Load SAE."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt a line, 30 or more for a good estimate. Lines that begin with # are left out.",
                ),
                *sampling_inputs(),
                sigmas_input(),
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
        seed: int,
        **sampling: Any,
    ) -> io.NodeOutput:
        find_site(model, sae.identity)  # first, because it is the mistake that is made most
        texts = parse_prompts(prompts)
        if not texts:
            raise SaeuronError("There are no prompts. Write at least one line that is not a # comment.")
        settings = SamplingSettings.from_inputs(**sampling)
        return io.NodeOutput(collect(model, clip, sae, settings, shots_of(texts, 1, seed)))
