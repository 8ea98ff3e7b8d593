"""Choosing a multiplier by what it removes and what it costs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from comfy_api.v0_0_2 import io

from ..saeuron.edits.intervention import MODES, RULES, Intervention
from ..saeuron.evaluation.sweep import Subjects, Sweep, subjects_of, sweep_rows, sweep_table
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.prompts import parse_multipliers, parse_prompts
from .host.drawing import HostPipeline
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.pictures import as_image, embed
from .host.runs import keep_unfinished, show_text
from .host.sockets import CLASSIFIER, EVALUATION, FEATURE_SET, SAE, HostedClassifier, HostedSAE


class SaeuronMultiplierSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronMultiplierSweep",
            display_name="Multiplier Sweep",
            category=EVALUATION,
            description="Draws the same prompts from the same noise at several multipliers, and shows what each "
            "removes and what it costs.",
            inputs=[
                io.Model.Input("model", tooltip="The model without Unlearn for this concept. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                io.Vae.Input("vae", tooltip="Makes the pictures."),
                SAE.Input("sae", tooltip="From Load SAE; the one the feature set was made with."),
                FEATURE_SET.Input("feature_set", tooltip="The concept's features."),
                io.String.Input(
                    "multipliers",
                    default="-5, -10, -20, -40",
                    tooltip="Numbers separated by commas; each gets a column.",
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="Prompts that ask for the concept, one a line; not those the features were found with.",
                ),
                io.String.Input(
                    "other_prompts",
                    multiline=True,
                    default="",
                    tooltip="Prompts that should not change, one a line. With a classifier, and only then, write the "
                    "label it should see before a bar: dogs | a dog on the left.",
                ),
                io.Int.Input("seeds", default=2, min=1, max=64, tooltip="How many pictures of each prompt."),
                io.Combo.Input("mode", options=list(MODES), default="exact", tooltip="As on Unlearn."),
                io.Combo.Input(
                    "rule", options=[r for r in RULES if r != "zero"], default="gamma-mu", tooltip="As on Unlearn."
                ),
                *sampling_inputs(),
                CLASSIFIER.Input("classifier", optional=True, tooltip="Says whether the concept is still seen."),
                io.String.Input(
                    "concept_label", default="", optional=True, tooltip="What the classifier calls the concept."
                ),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="Says how close pictures stay to those without the edit."
                ),
                sigmas_input(),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="Rows: prompts. Columns: off, then the multipliers."),
                io.Image.Output(display_name="plot", tooltip="The figures against the multiplier."),
                io.String.Output(display_name="json", tooltip="The figures as JSON."),
                io.String.Output(display_name="table", tooltip="The figures as text."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        sae: HostedSAE,
        feature_set: FeatureSet,
        multipliers: str,
        prompts: str,
        other_prompts: str,
        seeds: int,
        seed: int,
        mode: str,
        rule: str,
        classifier: HostedClassifier | None = None,
        concept_label: str = "",
        clip_vision: Any = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        feature_set.check_sae(sae.identity)
        chosen = parse_multipliers(multipliers)
        label_of = classifier.classifier.label if classifier is not None else None
        subjects = subjects_of(parse_prompts(prompts), parse_prompts(other_prompts), seeds, seed, label_of)
        label = label_of(concept_label) if label_of is not None else ""
        settings = SamplingSettings.from_inputs(**sampling)
        shots = [*subjects.concept, *subjects.others]
        sweep = Sweep(
            HostPipeline(model, clip, vae, sae, settings, len(shots) * (len(chosen) + 1)),
            subjects,
            Intervention(feature_set, chosen[0], mode, rule),
            classifier.ready().classify if classifier is not None else None,
            label,
            None if clip_vision is None else lambda pictures: embed(clip_vision, as_image(pictures)),
            shown=range(0, len(shots), seeds),
        )
        try:
            for _ in sweep.run(chosen):
                show_text(cls, sweep_table(sweep.points))
        except BaseException:  # an interrupt too: hours of pictures must not be lost with it
            if sweep.points:
                keep_unfinished("sweep", _grid(sweep, subjects), sweep_rows(sweep.points))
            raise
        return _outputs(cls, sweep, subjects, feature_set.concept)


def _grid(sweep: Sweep, subjects: Subjects) -> np.ndarray:
    """One row per prompt with its first seed."""
    from ..saeuron.figures.plots import picture_grid

    shots = [*subjects.concept, *subjects.others]
    columns = ["off" if point.multiplier is None else f"{point.multiplier:g}" for point in sweep.points]
    cells = [[pictures[place] for pictures in sweep.pictures] for place in sweep.shown]
    return picture_grid([shots[place].prompt for place in sweep.shown], columns, cells)


def _outputs(node: Any, sweep: Sweep, subjects: Subjects, concept: str) -> io.NodeOutput:
    from ..saeuron.figures.plots import sweep_plot

    rows, table = sweep_rows(sweep.points), sweep_table(sweep.points)
    pictures = len(subjects.concept), len(subjects.others)
    title = f"{concept}: {pictures[0]} pictures of it, {pictures[1]} of others"
    grid, plot = (as_image(p[None]) for p in (_grid(sweep, subjects), sweep_plot(sweep.points, title)))
    text = json.dumps(
        {"concept": concept, "concept_pictures": pictures[0], "other_pictures": pictures[1], "points": rows}
    )
    return io.NodeOutput(grid, plot, text, table, ui=show_text(node, table))
