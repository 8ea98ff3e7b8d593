"""The one-node way: type what the model is to forget, and what it is to draw instead."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.v0_0_2 import io

from ..saeuron.edits.replace import Replacement, replacing_style
from ..saeuron.errors import SaeuronError
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.features.forgetting import (
    SELECTION,
    Forgetting,
    concept_prompts,
    is_style,
    other_prompts,
    parse_concepts,
    with_article,
)
from ..saeuron.features.selection import select_features
from ..saeuron.features.statistics import ActivationStatistics
from ..saeuron.figures.tables import with_note
from ..saeuron.sae.base_models import find_base_model
from ..saeuron.shots import shots_of
from .host.collecting import collect
from .host.encoding import check_clip, text_of
from .host.folders import own_feature_set, read_other_prompts
from .host.inputs import SamplingSettings
from .host.model import add_replacement
from .host.replacing import ReplacementPatch
from .host.runs import Preview, node_id_of, send_text, show_text
from .host.searching import FORGETTING, also_found_as
from .host.sockets import CATEGORY, FEATURE_SET, SAE, HostedSAE
from .host.unet import find_site, fit_note
from .host.weights import weights_digest
from .host.when import look_first_input, strength_input

NOTHING = "a plain background"
"""What is drawn where the person does not say what: docs/method.md has what was tried."""

OTHERS_SEED = 1000
FOLDER = "forget"  # in models/feature_sets


class SaeuronForget(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronForget",
            display_name="Forget",
            category=CATEGORY,
            **also_found_as(*FORGETTING),
            description="Type what the model is to forget and what it should draw instead. The first time, it looks at "
            "pictures of the concept, which takes a while; after that it remembers. Pictures without the concept stay "
            "the same.",
            inputs=[
                io.Model.Input("model", tooltip="The model, with its LoRAs; it is not changed itself."),
                io.Clip.Input("clip", tooltip="The CLIP that belongs to the model."),
                SAE.Input("sae", tooltip="From Load SAE; one that was trained on this model."),
                io.String.Input(
                    "concepts",
                    multiline=True,
                    default="cat -> dog",
                    tooltip="One a line: what to forget, an arrow, and what to draw instead, for example: cat -> dog. "
                    "Without an arrow, a plain background is drawn.",
                ),
                strength_input("In percent: 100 replaces what is to be forgotten, 0 is off."),
                look_first_input(),
            ],
            outputs=[
                io.Model.Output(tooltip="For a sampler, Unlearn or Replace Concept."),
                FEATURE_SET.Output(
                    display_name="feature_sets",
                    is_output_list=True,
                    tooltip="The features that find each concept, in the order of the lines.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model: Any, clip: Any, sae: HostedSAE, concepts: str, strength: float, look_first: bool = False
    ) -> io.NodeOutput:
        wanted = parse_concepts(concepts)
        check_clip(clip)
        site = find_site(model, sae.identity)
        weights = weights_digest(model, clip.patcher)
        if clip.layer_idx is not None:  # the CLIP stops before its last layer: other texts, other features
            weights = f"{weights}, CLIP up to layer {clip.layer_idx}"
        sets, patched = [], model
        for line in wanted:
            feature_set = _remembered(cls, line, model, clip, sae, weights)
            text = with_note(_describe(line, feature_set), fit_note(model, sae.identity))
            preview = Preview(node_id_of(cls), text, "Forget")
            if is_style(line.concept):  # which is everywhere, so there is no place to look for
                replacement = replacing_style(feature_set, strength / 100)
            else:
                replacement = Replacement(feature_set, strength / 100, look_first=look_first)
            concept, instead = (
                _encode(model, clip, with_article(words)) for words in (line.concept, line.instead or NOTHING)
            )
            patched = add_replacement(patched, ReplacementPatch(site, sae, replacement, concept, instead, preview))
            sets.append(feature_set)
        lines = "\n".join(_describe(line, found) for line, found in zip(wanted, sets, strict=True))
        return io.NodeOutput(patched, sets, ui=show_text(cls, with_note(lines, fit_note(model, sae.identity))))


def _describe(line: Forgetting, feature_set: FeatureSet) -> str:
    return f"{line.concept} -> {line.instead or NOTHING}: {feature_set.detector_or_default.describe()}"


def _encode(model: Any, clip: Any, prompt: str) -> Any:
    return text_of(clip.encode_from_tokens_scheduled(clip.tokenize(prompt)), "clip", model)


def _remembered(
    node: type[SaeuronForget], line: Forgetting, model: Any, clip: Any, sae: HostedSAE, weights: str
) -> FeatureSet:
    """The features that find `line.concept` in the model of these `weights`, from an earlier time or found now."""
    path = _path(line.concept, sae, weights, line.concept, ".json")
    if path.is_file():
        try:
            found = FeatureSet.load(path)
            found.check_sae(sae.identity)
        except SaeuronError as error:
            raise SaeuronError(
                f"{error} Forget made this file; delete it, and it will be made again: {path}"
            ) from error
        return found
    began = time.monotonic()
    send_text(f"{line.concept}: first use, looking at pictures of it ...", node_id_of(node))
    found = _find(line.concept, model, clip, sae, weights)
    seconds = round(time.monotonic() - began)
    note = f"Found by Forget in {seconds} s, for the model with the weights {weights}."
    found = replace(found, concept=line.concept, note=note)
    found.save(path)
    return found


def _find(concept: str, model: Any, clip: Any, sae: HostedSAE, weights: str) -> FeatureSet:
    size = find_base_model(sae.identity.base_model).size
    # The first step alone: that is where a concept is looked for.
    settings = SamplingSettings("euler", "sgm_uniform", 1, 1.0, size, size)
    prompts = read_other_prompts()
    shots = {shot.prompt: shot for shot in shots_of(prompts, 1, OTHERS_SEED)}
    path = _path(" ".join(prompts), sae, weights, "others", ".safetensors")
    if path.is_file():
        all_others = ActivationStatistics.load(path)
    else:
        all_others = collect(model, clip, sae, settings, list(shots.values()))
        all_others.save(path)
    others = all_others.of_pictures([shots[prompt].name for prompt in other_prompts(concept, prompts)])
    own = collect(model, clip, sae, settings, shots_of(concept_prompts(concept), 1, 0))
    return select_features(own, others, SELECTION)


def _path(key: str, sae: HostedSAE, weights: str, name: str, suffix: str) -> Path:
    """Where what was found for `key` is kept, a file of its own for each SAE and model."""
    digest = hashlib.sha256(f"{key.lower()} {sae.identity.describe()} {weights}".encode()).hexdigest()[:16]
    readable = re.sub(r"\W+", "_", name.lower())[:40].strip("_") or "concept"
    return own_feature_set(f"{FOLDER}/{readable}-{digest}").with_suffix(suffix)
