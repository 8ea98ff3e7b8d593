"""Adding features, as the sdxl-unbox app does."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.edits.steering import Steering, parse_strengths
from ..saeuron.figures.tables import strength_table, with_note
from .host.model import Patch, add_patch
from .host.runs import Preview, node_id_of, show_text
from .host.searching import also_found_as
from .host.sockets import CATEGORY, SAE, HostedSAE, region_of
from .host.unet import find_site, fit_note
from .host.when import when_inputs, when_of


class SaeuronSteerFeatures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronSteerFeatures",
            display_name="Steer Features",
            category=CATEGORY,
            **also_found_as("sae", "concept slider"),
            description="Adds SAE features while the model draws, each with its own strength, everywhere or where a "
            "mask says. A strength below 0 takes its feature away.",
            inputs=[
                io.Model.Input("model", tooltip="The model to patch; it is not changed itself."),
                SAE.Input("sae", tooltip="From Load SAE; the indices refer to its features."),
                io.String.Input(
                    "strengths",
                    multiline=True,
                    default="",
                    tooltip="One feature a line, as index: strength, for example 123: -4.5. A strength is an "
                    "activation: go by the feature's mean or highest one.",
                ),
                *when_inputs(),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where in the picture features are added; without it, everywhere."
                ),
            ],
            outputs=[io.Model.Output(tooltip="For a sampler, Unlearn, or another Steer Features.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        sae: HostedSAE,
        strengths: str,
        mask: Tensor | None = None,
        **when: Any,
    ) -> io.NodeOutput:
        site = find_site(model, sae.identity)
        steering = Steering(
            parse_strengths(strengths),
            when_of(model, **when),
            region_of(mask),
        )
        steering.check_features(sae.identity.n)
        table = with_note(strength_table(steering, sae.labels), fit_note(model, sae.identity))
        patched = add_patch(model, Patch(site, sae, steering, Preview(node_id_of(cls), table, "Steer Features")))
        return io.NodeOutput(patched, ui=show_text(cls, table))
