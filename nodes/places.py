"""Before an SAE is used: whether it fits the model, and which block of the model decides about a concept."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.evaluation.places import BlockStudy
from ..saeuron.prompts import parse_prompts
from ..saeuron.shots import shots_of
from .host.folders import read_other_prompts
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.looking import measure_fit, without_each_block
from .host.pictures import as_image, embed
from .host.runs import show_text
from .host.sockets import CLASSIFIER, EVALUATION, SAE, HostedClassifier, HostedSAE
from .host.unet import find_site


class SaeuronCheckSAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronCheckSAE",
            display_name="Check SAE",
            category=EVALUATION,
            description="Draws a few pictures and says whether the SAE fits the model: how much of what it reads its "
            "reconstruction leaves unexplained, step by step.",
            inputs=[
                io.Model.Input("model", tooltip="The model the SAE is to be used on. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                SAE.Input("sae", tooltip="From Load SAE."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    tooltip="One prompt a line, a picture each. Empty for some of a list that comes with the pack.",
                ),
                io.Int.Input(
                    "pictures",
                    default=8,
                    min=1,
                    max=256,
                    tooltip="How many of the list that comes with the pack; read only if there are no prompts.",
                ),
                *sampling_inputs(),
                sigmas_input(),
            ],
            outputs=[
                io.String.Output(display_name="result", tooltip="The verdict and the figures, as text."),
                io.Float.Output(
                    display_name="unexplained",
                    tooltip="The share of variance left unexplained: 0 is perfect, 1 explains nothing.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, model: Any, clip: Any, sae: HostedSAE, prompts: str, pictures: int, seed: int, **sampling: Any
    ) -> io.NodeOutput:
        find_site(model, sae.identity)
        texts = parse_prompts(prompts) or _some(read_other_prompts(), pictures)
        settings = SamplingSettings.from_inputs(**sampling)
        fit = measure_fit(model, clip, sae, settings, shots_of(texts, 1, seed))
        text = f"{sae.identity.describe()}\n{fit.table(sae.figures)}"
        return io.NodeOutput(text, fit.unexplained, ui=show_text(cls, text))


class SaeuronFindHookpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronFindHookpoint",
            display_name="Find Hookpoint",
            category=EVALUATION,
            description="Leaves out one transformer block at a time and shows without which of them the concept is no "
            "longer drawn: there an SAE can find it and an edit can remove it.",
            inputs=[
                io.Model.Input("model", tooltip="The model to examine, with its LoRAs. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                io.Vae.Input("vae", tooltip="Makes the pictures."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="a cat",
                    tooltip="Prompts that ask for the concept, one a line. Each is drawn once for every block.",
                ),
                io.Int.Input("seeds", default=2, min=1, max=64, tooltip="How many pictures of each prompt."),
                *sampling_inputs(),
                CLASSIFIER.Input("classifier", optional=True, tooltip="Says whether the concept is still seen."),
                io.String.Input(
                    "concept_label", default="", optional=True, tooltip="What the classifier calls the concept."
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Says how close pictures stay to those with all blocks. Needed without a classifier.",
                ),
                sigmas_input(),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="What is left of the concept without each block."),
                io.Image.Output(display_name="grid", tooltip="Rows: prompts. Columns: nothing left out, then blocks."),
                io.String.Output(display_name="json", tooltip="The figures as JSON."),
                io.String.Output(display_name="table", tooltip="The figures as text."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        prompts: str,
        seeds: int,
        seed: int,
        classifier: HostedClassifier | None = None,
        concept_label: str = "",
        clip_vision: Any = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        from ..saeuron.figures.plots import block_plot, picture_grid

        if classifier is None and clip_vision is None:
            raise SaeuronError("Nothing judges the pictures. Connect a classifier, a CLIP_VISION, or both.")
        texts = parse_prompts(prompts)
        if not texts:
            raise SaeuronError("There are no prompts. Write at least one line that asks for the concept.")
        study = BlockStudy(classifier.classifier.label(concept_label) if classifier is not None else "")
        judge = classifier.ready().classify if classifier is not None else None
        cells: list[list[np.ndarray]] = [[] for _ in texts]

        def see(hookpoint: str, pictures: np.ndarray) -> None:
            labels = None if judge is None else judge(pictures)
            study.add(hookpoint, labels, None if clip_vision is None else embed(clip_vision, as_image(pictures)))
            for row, picture in zip(cells, pictures[::seeds], strict=True):
                row.append(picture)
            show_text(cls, study.table())

        settings = SamplingSettings.from_inputs(**sampling)
        without_each_block(model, clip, vae, settings, shots_of(texts, seeds, seed), see)
        columns = ["nothing left out", *(block.hookpoint for block in study.effects)]
        images = (block_plot(study), picture_grid(texts, columns, cells))
        text = json.dumps({"label": study.label, "with_all_blocks": study.baseline, "blocks": study.rows()})
        plot, grid = (as_image(image[None]) for image in images)
        return io.NodeOutput(plot, grid, text, study.table(), ui=show_text(cls, study.table()))


def _some(prompts: list[str], count: int) -> list[str]:
    """`count` of `prompts` from all over the list, as far as there are as many."""
    return prompts[:: max(1, len(prompts) // count)][:count]
