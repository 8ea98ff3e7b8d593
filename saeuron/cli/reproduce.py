"""The experiment that the method was shown with on SDXL-Turbo, in one command, printing its three tables.

Its settings: 4 steps, tau 5, limits of 1 % and 99 %, steps pooled, mode ``seed``, the same prompts for fitting and
testing, two concepts. It confounds removal with what replacing the block's output by a reconstruction does; METHOD's
mode ``exact`` does not (choose it with ``--mode exact``).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..edits.intervention import MODES, Intervention
from ..evaluation.classifier import Classifier
from ..evaluation.sweep import Embed, Subjects, Sweep, SweepPoint, sweep_rows
from ..features.feature_set import FeatureSet
from ..features.selection import SelectionSettings, select_features
from ..figures.tables import feature_set_table
from ..miniature.loading import CLIP_FOLDER, PROMPTS_FOLDER
from ..prompts import read_prompts
from ..shots import shots_of
from .options import MINIATURE, Result, add_command, add_model, pipeline_of

CONCEPTS = ("cats", "towers")
UA_MULTIPLIERS = (-0.001, -0.1, -3.0, -5.0)
CLIP_MULTIPLIERS = (-0.5, -1.0)
MULTIPLIERS = tuple(sorted((*UA_MULTIPLIERS, *CLIP_MULTIPLIERS), reverse=True))
TURBO = "stabilityai/sdxl-turbo"
PROMPTS = PROMPTS_FOLDER / "fit"
_JUDGE = Path(__file__).parents[1] / "miniature" / "classifiers" / "objects"


@dataclass(frozen=True)
class Reproduction:
    """Of one concept."""

    concept: str
    feature_set: FeatureSet
    points: Sequence[SweepPoint]


def add_commands(commands: Any) -> None:
    parser = add_command(commands, "reproduce", _reproduce, "The published experiment in one command: three tables.")
    parser.add_argument("--miniature", action="store_true", help="on the miniature in place of SDXL-Turbo")
    parser.add_argument("--images", type=int, default=10, help="pictures for each concept and multiplier")
    parser.add_argument("--mode", choices=MODES, default="seed")
    parser.add_argument("--classifier", type=Path, help="a judge of objects; with the miniature its own if left out")
    parser.add_argument("--clip", help="a CLIP as transformers saves it, for the similarity")
    add_model(parser)
    parser.set_defaults(model=TURBO)


def _reproduce(arguments: Namespace) -> Result:
    if arguments.miniature:
        arguments.model = MINIATURE
        arguments.classifier = arguments.classifier or _JUDGE
        arguments.clip = arguments.clip or (str(CLIP_FOLDER) if CLIP_FOLDER.is_dir() else None)
    pictures = len(CONCEPTS) * arguments.images * (2 + len(MULTIPLIERS))
    found = reproduce(
        pipeline_of(arguments, pictures),
        arguments.images,
        arguments.seed,
        arguments.mode,
        # Of the miniature's few prompts a feature fires on too few tokens for the published limits.
        "image" if arguments.miniature else "token",
        Classifier(arguments.classifier) if arguments.classifier else None,
        clip_embedder(arguments.clip) if arguments.clip else None,
    )
    document = {
        r.concept: {
            "features": [feature.index for feature in r.feature_set.steps[0].features],
            "points": sweep_rows(r.points),
        }
        for r in found
    }
    return Result(document, "\n\n".join(tables(found)))


def reproduce(
    pipeline: Any,
    images: int,
    seed: int,
    mode: str = "seed",
    rate_unit: str = "token",
    judge: Classifier | None = None,
    embed: Embed | None = None,
) -> list[Reproduction]:
    """`pipeline` is a `ReferencePipeline`; `images` pictures for each concept and multiplier."""
    shots = {
        concept: shots_of((read_prompts(PROMPTS / f"{concept}.txt") * images)[:images], 1, seed) for concept in CONCEPTS
    }
    statistics = {concept: pipeline.collect(shots[concept], concept) for concept in CONCEPTS}
    settings = SelectionSettings(tau=5, rate_unit=rate_unit, mean_all="halves")
    found = []
    for concept, other in (CONCEPTS, CONCEPTS[::-1]):
        feature_set = replace(select_features(statistics[concept], statistics[other], settings), concept=concept)
        sweep = Sweep(
            pipeline,
            Subjects(shots[concept]),
            Intervention(feature_set, -1.0, mode),
            judge.classify if judge else None,
            judge.label(concept) if judge else "",
            embed,
        )
        found.append(Reproduction(concept, feature_set, list(sweep.run(MULTIPLIERS))))
    return found


def tables(found: Sequence[Reproduction]) -> list[str]:
    """The chosen features, UA, CLIP similarity; the latter two at the multipliers that were published for them."""
    features = "\n\n".join(feature_set_table(r.feature_set) for r in found)
    return [
        f"1. Features\n{features}",
        _by_multiplier("2. Unlearning accuracy (UA)", found, "unlearning_accuracy", ".0%", (None, *UA_MULTIPLIERS)),
        _by_multiplier(
            "3. CLIP similarity to the un-ablated picture", found, "clip_similarity", ".3f", CLIP_MULTIPLIERS
        ),
    ]


def _by_multiplier(
    title: str, found: Sequence[Reproduction], figure: str, form: str, multipliers: Sequence[float | None]
) -> str:
    lines = [title, "multiplier" + "".join(f"{r.concept:>10}" for r in found)]
    for multiplier in multipliers:
        values = [getattr(point, figure) for r in found for point in r.points if point.multiplier == multiplier]
        name = "off" if multiplier is None else f"{multiplier:g}"
        lines.append(f"{name:>10}" + "".join(f"{'-' if v is None else format(v, form):>10}" for v in values))
    return "\n".join(lines)


def clip_embedder(name: str) -> Embed:
    """The image side of a CLIP, a folder or a hub name."""
    import torch
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained(name, use_safetensors=True).eval()
    processor = CLIPImageProcessor.from_pretrained(name)

    def embed(pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = processor(images=list(pictures), return_tensors="pt")["pixel_values"]
            return np.asarray(model(pixel_values=pixels).image_embeds)

    return embed
