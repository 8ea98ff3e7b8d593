"""Collecting activation statistics: the expensive stage, one sampling run per prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.features.statistics import ActivationStatistics
from ..saeuron.prompts import parse_prompts
from ..saeuron.shots import shots_of
from .host.drawing import BatchSampler
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.recording import with_recorder
from .host.resuming import Unfinished, everything_asked, forget, recall, remember
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
        site = find_site(model, sae.identity)  # first, because it is the mistake that is made most
        texts = parse_prompts(prompts)
        if not texts:
            raise SaeuronError("There are no prompts. Write at least one line that is not a # comment.")
        settings = SamplingSettings.from_inputs(**sampling)
        sampler = BatchSampler(model, clip, settings, len(texts))
        empty = partial(ActivationStatistics, sae.identity, sampler.sigmas[:-1].tolist(), settings.as_dict())
        shots = shots_of(texts, 1, seed)
        asked = everything_asked(model, clip, sae, settings, shots)
        done = recall(model, asked) or Unfinished(asked, empty(), 0)
        batch = empty()
        recording = with_recorder(model, site, sae, lambda sigma, codes: batch.add(sigma, codes))
        for _ in sampler.run(recording, shots, skip=done.batches):  # the pictures themselves are not needed
            # A batch counts once it is whole; merging is exact, so it does not matter where a run was interrupted.
            done = Unfinished(asked, done.statistics.merge(batch), done.batches + 1)
            batch = empty()
            remember(model, done)
        forget(model)
        return io.NodeOutput(done.statistics)
