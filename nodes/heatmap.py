"""Seeing features: where in a picture they fire, and in which pictures most."""

from __future__ import annotations

from typing import Any

import numpy as np
from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.features.finding import features_by_index
from ..saeuron.features.heatmaps import VIEWS, ActivationMaps, Heatmap, as_mask, features_of, patch_around_peak
from ..saeuron.prompts import parse_prompts
from ..saeuron.sae.labels import named
from ..saeuron.shots import Shot, shots_of
from .host.drawing import schedule
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.pictures import as_image, to_pixels
from .host.recording import record_pictures
from .host.runs import show_text
from .host.sockets import FEATURE_SET, FEATURES, SAE, HostedSAE
from .host.unet import find_site


class SaeuronFeatureHeatmap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronFeatureHeatmap",
            display_name="Heat Map",
            category=FEATURES,
            description="Draws a prompt and shows where in the picture the features of a set fire.",
            inputs=[
                io.Model.Input("model", tooltip="The model to examine; with Unlearn on it you see what is left."),
                io.Clip.Input("clip", tooltip="Encodes the prompt."),
                io.Vae.Input("vae", tooltip="Makes the picture."),
                SAE.Input("sae", tooltip="From Load SAE; the one the feature set was made with."),
                FEATURE_SET.Input("feature_set", tooltip="The features to look for."),
                io.String.Input("prompt", multiline=True, default="", tooltip="What to draw."),
                io.Combo.Input(
                    "view",
                    options=list(VIEWS),
                    default="summed",
                    tooltip="One map of everything, one for each feature, or one for each step.",
                ),
                *sampling_inputs(),
                sigmas_input(),
            ],
            outputs=[
                io.Image.Output(display_name="overlays", tooltip="The maps over the picture in grey, with a legend."),
                io.Image.Output(display_name="picture", tooltip="The picture as it is."),
                io.Mask.Output(display_name="mask", tooltip="All features and steps summed; 1 where they fire most."),
                io.String.Output(display_name="table", tooltip="How much and where each feature fires."),
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
        prompt: str,
        view: str,
        seed: int,
        **sampling: Any,
    ) -> io.NodeOutput:
        from ..saeuron.figures.plots import heatmap_overlays

        feature_set.check_sae(sae.identity)
        find_site(model, sae.identity)
        settings = SamplingSettings.from_inputs(**sampling)
        maps = ActivationMaps(features_of(feature_set), schedule(model, settings)[:-1].tolist())
        (latent,) = record_pictures(model, clip, sae, settings, [Shot(prompt, seed)], [maps.add])
        picture = vae.decode(latent)
        overlays = heatmap_overlays(to_pixels(picture)[0], maps.heatmaps(view, sae.labels))
        mask = as_mask(maps.values().sum((0, 1)), *picture.shape[1:3])
        table = maps.table(sae.labels)
        return io.NodeOutput(as_image(overlays), picture, mask, table, ui=show_text(cls, table))


class SaeuronFeatureExamples(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronFeatureExamples",
            display_name="Feature Examples",
            category=FEATURES,
            description="Draws a picture per prompt and shows those that activate one feature most, and where.",
            inputs=[
                io.Model.Input("model", tooltip="The model to examine. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                io.Vae.Input("vae", tooltip="Makes the pictures."),
                SAE.Input("sae", tooltip="From Load SAE."),
                io.Int.Input("feature", default=0, min=0, max=2**31 - 1, tooltip="The feature's index."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    tooltip="One prompt a line, the more different the better. Lines that begin with # are left out.",
                ),
                io.Int.Input("count", default=6, min=1, max=30, tooltip="How many pictures to show, best first."),
                *sampling_inputs(),
                sigmas_input(),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="Picture, map and strongest patch of each."),
                io.String.Output(display_name="table", tooltip="The highest activation in each picture."),
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
        feature: int,
        prompts: str,
        count: int,
        seed: int,
        **sampling: Any,
    ) -> io.NodeOutput:
        from ..saeuron.figures.plots import example_grid

        find_site(model, sae.identity)
        features_by_index(sae.identity, [feature], "")  # refuses what the SAE does not have
        shots = shots_of(parse_prompts(prompts), 1, seed)
        if not shots:
            raise SaeuronError("There are no prompts. Write at least one line that is not a # comment.")
        settings = SamplingSettings.from_inputs(**sampling)
        sigmas = schedule(model, settings)[:-1].tolist()
        maps = [ActivationMaps([feature], sigmas) for _ in shots]
        latents = record_pictures(model, clip, sae, settings, shots, [own.add for own in maps])
        # Over steps, so that one lucky token at one step is not all.
        summed = [own.values().sum((0, 1)) for own in maps]
        order = sorted(range(len(shots)), key=lambda shot: -float(summed[shot].max()))[:count]
        lines = [f"{float(summed[shot].max()):.4g}  {shots[shot].prompt}" for shot in order]
        pictures = [to_pixels(vae.decode(latents[shot]))[0] for shot in order]
        patches = [p[patch_around_peak(summed[shot], *p.shape[:2])] for p, shot in zip(pictures, order, strict=True)]
        heatmaps = [Heatmap(line, summed[shot]) for line, shot in zip(lines, order, strict=True)]
        table = "\n".join([f"feature {named(feature, sae.labels)}: highest activation, summed over steps", *lines])
        return io.NodeOutput(
            as_image(np.stack([example_grid(heatmaps, pictures, patches)])), table, ui=show_text(cls, table)
        )
