"""The node that draws something else in a concept's place."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.edits.replace import FARTHEST, ON_POSITIVE, STRONGEST, Replacement
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.figures.tables import with_note
from .host.encoding import text_of
from .host.model import add_replacement
from .host.replacing import ReplacementPatch
from .host.runs import Preview, node_id_of, show_text
from .host.searching import FORGETTING, also_found_as
from .host.sockets import CATEGORY, FEATURE_SET, SAE, HostedSAE, region_of
from .host.unet import find_site, fit_note
from .host.when import look_first_input, percent_inputs, strength_input, when_of


class SaeuronReplace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronReplace",
            display_name="Replace Concept",
            category=CATEGORY,
            **also_found_as(*FORGETTING, "swap concept"),
            description="Draws something else where a concept would be: the SAE finds the concept, and the model's own "
            "answer to another text takes its place. Pictures without the concept stay the same, bit for bit. Chain "
            "several for several concepts.",
            inputs=[
                io.Model.Input("model", tooltip="The model to patch; it is not changed itself."),
                SAE.Input("sae", tooltip="From Load SAE; the one the feature set was made with."),
                FEATURE_SET.Input("feature_set", tooltip="The concept's features; they find it in a picture."),
                io.Conditioning.Input("concept", tooltip="The concept as a prompt, for example: a cat."),
                io.Conditioning.Input("instead", tooltip="What to draw in its place, as a prompt, for example: a dog."),
                strength_input(
                    "In percent: 100 replaces the concept, 0 is off. A style needs about 150, and growth 64.",
                    100 * STRONGEST,
                ),
                io.Float.Input(
                    "sensitivity",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    tooltip="How easily the concept is found: at 2 half as many marked tokens are enough, at 0.5 it "
                    "takes twice as many. Raise it if the concept stays, lower it if other pictures change.",
                ),
                io.Int.Input(
                    "growth",
                    default=0,
                    min=0,
                    max=FARTHEST,
                    tooltip="Widens the part that is replaced by this many tokens (32 pixels each on SDXL).",
                ),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=FARTHEST,
                    tooltip="Fades the edge of that part out over this many tokens.",
                ),
                *percent_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the picture the concept may be replaced; without it, anywhere.",
                ),
                look_first_input(),
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
        look_first: bool = False,
        **percents: Any,
    ) -> io.NodeOutput:
        feature_set.check_sae(sae.identity)
        site = find_site(model, sae.identity)
        when = when_of(model, **percents, halves=ON_POSITIVE.halves)
        where = growth, feather, region_of(mask)
        replacement = Replacement(feature_set, strength / 100, sensitivity, *where, when=when, look_first=look_first)
        found = f"{feature_set.concept}: {feature_set.detector_or_default.describe()}"
        text = with_note(found, fit_note(model, sae.identity))
        patch = ReplacementPatch(
            site,
            sae,
            replacement,
            text_of(concept, "concept", model),
            text_of(instead, "instead", model),
            Preview(node_id_of(cls), text, "Replace Concept"),
        )
        return io.NodeOutput(add_replacement(model, patch), ui=show_text(cls, text))
