"""Before and after in one picture, on every host."""

from __future__ import annotations

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..saeuron.figures.comparison import side_by_side
from .host.pictures import as_image, to_pixels
from .host.sockets import CATEGORY


class SaeuronCompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronCompare",
            display_name="Before / After",
            category=CATEGORY,
            description="Puts pictures before and after an edit side by side, with a label above each.",
            inputs=[
                io.Image.Input("before", tooltip="Pictures of the model as it is."),
                io.Image.Input("after", tooltip="The same prompts and seeds with the edit, of the same size."),
                io.String.Input("before_label", default="Before", tooltip="Written above the left picture."),
                io.String.Input("after_label", default="After", tooltip="Written above the right picture."),
            ],
            outputs=[io.Image.Output(display_name="comparison", tooltip="For Save Image.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, before: Tensor, after: Tensor, before_label: str, after_label: str) -> io.NodeOutput:
        pictures = side_by_side(to_pixels(before), to_pixels(after), (before_label, after_label))
        comparison = as_image(pictures)
        return io.NodeOutput(comparison, ui=ui.PreviewImage(comparison))
