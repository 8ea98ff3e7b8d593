"""Where a concept was replaced in the pictures that a sampler gave."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.figures.tables import mask_table
from .host.model import attached
from .host.replacement_masks import united_masks
from .host.runs import show_text
from .host.sockets import CATEGORY


class SaeuronReplacementMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronReplacementMask",
            display_name="Replacement Mask",
            category=CATEGORY,
            description="Where Replace Concept and Forget acted in the pictures that a sampler gave, as a mask for "
            "each of them: white where something was replaced, black where nothing was.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="The MODEL that the sampler uses, with Replace Concept or Forget on it."
                ),
                io.Latent.Input("latent", tooltip="What the sampler gives, as it is."),
            ],
            outputs=[
                io.Mask.Output(tooltip="One for each picture, in its size; all that was replaced in it together."),
                io.String.Output(display_name="table", tooltip="Which pictures, and how much of each."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: Any, latent: dict[str, Any]) -> io.NodeOutput:
        replacements = attached(model).replacements
        if not replacements:
            raise SaeuronError("Neither Replace Concept nor Forget is on this MODEL; connect the one that they give.")
        masks = united_masks(replacements, latent["samples"])
        table = mask_table(masks.mean((1, 2)).tolist())
        return io.NodeOutput(masks, table, ui=show_text(cls, table))
