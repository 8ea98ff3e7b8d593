"""How close edited pictures stay to the un-ablated ones, by CLIP."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.evaluation.metrics import cosine_similarity
from ..saeuron.evaluation.reports import similarity_report
from ..saeuron.miniature.loading import CLIP_FOLDER
from .host.pictures import embed
from .host.runs import show_text
from .host.sockets import EVALUATION


class SaeuronLoadMiniatureClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronLoadMiniatureClip",
            display_name="Load Miniature CLIP",
            category=EVALUATION,
            description="Loads the small CLIP that comes with the pack. It has seen the miniature's drawings only; for "
            "other pictures use Load CLIP Vision.",
            inputs=[],
            outputs=[io.ClipVision.Output(tooltip="For CLIP Similarity.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from .host.clip_vision import load_clip_vision

        return io.NodeOutput(load_clip_vision(CLIP_FOLDER))


class SaeuronClipSimilarity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronClipSimilarity",
            display_name="CLIP Similarity",
            category=EVALUATION,
            description="The cosine between the CLIP embeddings of each edited picture and of the same picture without "
            "the edit: how much stays as it was. 1 is everything.",
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="From Load CLIP Vision or Load Miniature CLIP."),
                io.Image.Input("images", tooltip="Pictures drawn with Unlearn."),
                io.Image.Input(
                    "baseline",
                    tooltip="The same prompts and seeds without Unlearn: as many pictures, in the same order.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="similarity", tooltip="The mean, -1 to 1."),
                io.Float.Output(
                    display_name="similarities", is_output_list=True, tooltip="One a picture, in their order."
                ),
                io.String.Output(display_name="report", tooltip="The mean with its interval, and each picture's."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, clip_vision: Any, images: Tensor, baseline: Tensor) -> io.NodeOutput:
        similarities = cosine_similarity(embed(clip_vision, images), embed(clip_vision, baseline)).tolist()
        report = similarity_report(similarities)
        mean = sum(similarities) / len(similarities)
        return io.NodeOutput(mean, similarities, report, ui=show_text(cls, report))
