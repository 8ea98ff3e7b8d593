"""Feature sets by hand: found in a picture, or listed by index."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.errors import SaeuronError
from ..saeuron.features.finding import FeatureFinder, features_by_index, parse_indices
from ..saeuron.figures.tables import feature_set_table
from ..saeuron.shots import shots_of
from .host.drawing import schedule
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.recording import record_pictures
from .host.runs import show_text
from .host.sockets import FEATURE_SET, FEATURES, SAE, HostedSAE, region_of
from .host.unet import find_site


class SaeuronFindFeatures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronFindFeatures",
            display_name="Find Features",
            category=FEATURES,
            description="Draws a prompt and lists the SAE features that are strongest in the picture, or in the part "
            "of it that a mask shows.",
            inputs=[
                io.Model.Input("model", tooltip="The model to examine. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompt."),
                SAE.Input("sae", tooltip="From Load SAE."),
                io.String.Input("prompt", multiline=True, default="", tooltip="What to draw."),
                io.Int.Input("count", default=10, min=1, max=1000, tooltip="How many features to list, best first."),
                io.Int.Input(
                    "pictures",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many pictures of the prompt to look at. With a mask one is best: it fits one picture.",
                ),
                *sampling_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The part of the picture to look at: features that fire more inside than outside.",
                ),
                sigmas_input(),
            ],
            outputs=[
                FEATURE_SET.Output(display_name="feature_set", tooltip="For Heat Map, Feature Report and Unlearn."),
                io.String.Output(display_name="table", tooltip="The features as text."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        sae: HostedSAE,
        prompt: str,
        count: int,
        pictures: int,
        seed: int,
        mask: Tensor | None = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        find_site(model, sae.identity)
        if not prompt.strip():
            raise SaeuronError("There is no prompt. Write what to draw.")
        settings = SamplingSettings.from_inputs(**sampling)
        sigmas = schedule(model, settings)[:-1].tolist()
        finder = FeatureFinder(sae.identity, sigmas, settings.as_dict(), region_of(mask))
        record_pictures(model, clip, sae, settings, shots_of([prompt], pictures, seed), [finder.add] * pictures)
        feature_set = finder.find(count, prompt.strip().splitlines()[0])
        table = feature_set_table(feature_set, sae.labels)
        return io.NodeOutput(feature_set, table, ui=show_text(cls, table))


class SaeuronFeaturesByIndex(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronFeaturesByIndex",
            display_name="Features By Index",
            category=FEATURES,
            description="Makes a feature set from indices you know. It has no mean activations, so Unlearn needs the "
            "rule gamma or zero.",
            inputs=[
                SAE.Input("sae", tooltip="The SAE that the indices belong to."),
                io.String.Input(
                    "indices",
                    multiline=True,
                    default="",
                    tooltip="Feature indices, separated by commas, spaces or line breaks; text after a # is ignored.",
                ),
                io.String.Input("concept", default="", tooltip="What the features stand for; for reports."),
            ],
            outputs=[
                FEATURE_SET.Output(display_name="feature_set", tooltip="For Unlearn, Heat Map and Save Feature Set.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, sae: HostedSAE, indices: str, concept: str) -> io.NodeOutput:
        feature_set = features_by_index(sae.identity, parse_indices(indices), concept.strip() or "concept")
        return io.NodeOutput(feature_set, ui=show_text(cls, feature_set_table(feature_set, sae.labels)))
