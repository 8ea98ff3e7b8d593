"""Whether a feature set finds the word in the prompt or the thing in the picture."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.features.forgetting import other_prompts
from ..saeuron.prompts import parse_prompts
from ..saeuron.shots import Shot
from .host.folders import read_other_prompts
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.reading import learn_by_host
from .host.runs import show_text
from .host.sockets import FEATURE_SET, FEATURES, SAE, HostedSAE
from .host.unet import find_site


class SaeuronCalibrateDetector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronCalibrateDetector",
            display_name="Calibrate Detector",
            category=FEATURES,
            description="Shows whether a feature set finds a concept by the word in the prompt or by what the picture "
            "shows, and learns to find it in runs that begin from a picture.",
            inputs=[
                io.Model.Input("model", tooltip="The model to examine, with its LoRAs. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                SAE.Input("sae", tooltip="From Load SAE; the one of the feature set."),
                FEATURE_SET.Input("feature_set", tooltip="The features that are to find it."),
                io.String.Input(
                    "concept_prompts",
                    multiline=True,
                    default="a cat",
                    tooltip="One prompt a line that names the concept. Lines that begin with # are left out.",
                ),
                io.Int.Input(
                    "pictures",
                    default=12,
                    min=2,
                    max=256,
                    tooltip="How many pictures to draw of the concept, and as many of other things.",
                ),
                *sampling_inputs(),
                io.String.Input(
                    "other_prompts",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="One prompt a line that does not name the concept. Empty for a list that comes with the "
                    "pack.",
                ),
                sigmas_input(),
            ],
            outputs=[
                FEATURE_SET.Output(
                    display_name="feature_set", tooltip="The same features, with what was learned; for saving."
                ),
                io.String.Output(display_name="result", tooltip="What was found, as text."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        sae: HostedSAE,
        feature_set: FeatureSet,
        concept_prompts: str,
        pictures: int,
        seed: int,
        other_prompts: str = "",
        **sampling: Any,
    ) -> io.NodeOutput:
        find_site(model, sae.identity)
        feature_set.check_sae(sae.identity)
        concept = parse_prompts(concept_prompts)
        if not concept:
            raise SaeuronError("There are no prompts of the concept. Write at least one line that names it.")
        others = parse_prompts(other_prompts) or _others(concept)
        settings = SamplingSettings.from_inputs(**sampling)
        shots = [_shots(prompts, pictures, seed + pictures * kind) for kind, prompts in enumerate((concept, others))]
        found, reading = learn_by_host(model, clip, sae, settings, feature_set, *shots)
        text = f"{found.concept}: {found.detector_or_default.describe()}\n{reading.describe()}"
        return io.NodeOutput(found, text, ui=show_text(cls, text))


def _others(concept: list[str]) -> list[str]:
    """Of the list that comes with the pack those that share no word with the shortest prompt of the concept."""
    return other_prompts(min(concept, key=len), read_other_prompts())


def _shots(prompts: list[str], count: int, seed: int) -> list[Shot]:
    """`count` of them, each with a seed of its own, spread over all of `prompts`."""
    return [
        Shot(prompts[number * max(1, len(prompts) // count) % len(prompts)], seed + number) for number in range(count)
    ]
