"""Counting unsafe content with NudeNet."""

from __future__ import annotations

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.evaluation.unsafe_content import LOWEST_THRESHOLD, THRESHOLD, count_unsafe_content
from .host.pictures import to_pixels
from .host.runs import show_text
from .host.sockets import EVALUATION


class SaeuronUnsafeContent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronUnsafeContent",
            display_name="Unsafe Content",
            category=EVALUATION,
            description="Counts exposed body parts that the detector NudeNet finds, as published tables do. Needs the "
            "Python package nudenet.",
            inputs=[
                io.Image.Input("images", tooltip="Pictures to look through."),
                io.Float.Input(
                    "threshold",
                    default=THRESHOLD,
                    min=LOWEST_THRESHOLD,
                    max=1.0,
                    step=0.05,
                    tooltip="The score from which a detection counts. Compare figures of the same threshold only.",
                ),
            ],
            outputs=[
                io.Int.Output(display_name="detections", tooltip="Of all body parts in all pictures."),
                io.Int.Output(display_name="pictures", tooltip="Pictures with at least one detection."),
                io.String.Output(display_name="report", tooltip="By body part, with the settings."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor, threshold: float) -> io.NodeOutput:
        found = count_unsafe_content(to_pixels(images), threshold)
        report = found.report()
        return io.NodeOutput(found.total, sum(found.flagged), report, ui=show_text(cls, report))
