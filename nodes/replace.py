"""The node that draws something else in a concept's place."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.edits.replace import FARTHEST, ON_POSITIVE, Replacement
from ..saeuron.errors import SaeuronError
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.figures.tables import with_note
from .host.model import add_replacement
from .host.replacing import ReplacementPatch
from .host.runs import Preview, node_id_of, show_text
from .host.sockets import CATEGORY, FEATURE_SET, SAE, HostedSAE, region_of
from .host.unet import find_site, fit_note
from .host.when import percent_inputs, when_of


class SaeuronReplace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronReplace",
            display_name="Replace Concept",
            category=CATEGORY,
            description="Draws something else where a concept would be: the SAE finds the concept, and the model's own "
            "answer to another text stands there instead. Other pictures stay as they are, bit for bit. Chain several "
            "for several concepts.",
            inputs=[
                io.Model.Input("model", tooltip="The model to patch; it is not changed itself."),
                SAE.Input("sae", tooltip="From Load SAE; the one the feature set was made with."),
                FEATURE_SET.Input("feature_set", tooltip="The concept's features, which find it."),
                io.Conditioning.Input("concept", tooltip="The concept as a prompt, for example: a cat."),
                io.Conditioning.Input("instead", tooltip="What is to stand there instead, for example: a dog."),
                io.Float.Input(
                    "strength",
                    default=100.0,
                    min=0.0,
                    max=100.0,
                    step=1.0,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="In percent. 100 replaces the concept, 0 is off.",
                ),
                io.Float.Input(
                    "sensitivity",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    tooltip="How easily the concept is found: 2 takes half as much of it in a picture, 0.5 twice as "
                    "much. Raise it where the concept stays, lower it where other pictures change.",
                ),
                io.Int.Input(
                    "growth",
                    default=0,
                    min=0,
                    max=FARTHEST,
                    tooltip="Widens the part that is replaced, in tokens of the block's map (32 pixels each on SDXL).",
                ),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=FARTHEST,
                    tooltip="Fades the edge of the part that is replaced, over so many tokens.",
                ),
                *percent_inputs(),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where in the picture it may be replaced; without it, anywhere."
                ),
            ],
            outputs=[io.Model.Output(tooltip="For a sampler, Unlearn, or another Replace Concept.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        sae: HostedSAE,
        feature_set: FeatureSet,
        concept: Any,
        instead: Any,
        strength: float,
        sensitivity: float,
        growth: int,
        feather: int,
        mask: Tensor | None = None,
        **percents: Any,
    ) -> io.NodeOutput:
        feature_set.check_sae(sae.identity)
        site = find_site(model, sae.identity)
        when = when_of(model, **percents, halves=ON_POSITIVE.halves)
        replacement = Replacement(feature_set, strength / 100, sensitivity, growth, feather, region_of(mask), when=when)
        found = f"{feature_set.concept}: {feature_set.detector_or_default.describe()}"
        text = with_note(found, fit_note(model, sae.identity))
        width = model.model.model_config.unet_config["context_dim"]
        patch = ReplacementPatch(
            site,
            sae,
            replacement,
            text_of(concept, "concept", width),
            text_of(instead, "instead", width),
            Preview(node_id_of(cls), text, "Replace Concept"),
        )
        return io.NodeOutput(add_replacement(model, patch), ui=show_text(cls, text))


def text_of(conditioning: Any, name: str, width: int) -> Tensor:
    """The encoded text [1, s, width] of a CONDITIONING that is a single prompt. Errors: `SaeuronError` for others."""
    prompts = sum(len(text) for text, _ in conditioning)
    if prompts != 1:
        raise SaeuronError(f"The input {name} holds {prompts} prompts; connect a CLIP Text Encode with one short text.")
    text: Tensor = conditioning[0][0]
    if text.shape[-1] != width:
        raise SaeuronError(
            f"The text at the input {name} is {text.shape[-1]} wide, but the MODEL reads texts of {width}: it was "
            "encoded for another kind of model. Use the CLIP that belongs to this MODEL."
        )
    return text
