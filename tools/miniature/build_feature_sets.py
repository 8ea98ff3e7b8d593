"""Compute the shipped feature sets of the miniature, all 20 objects and 5 styles, from its prompts to fit.

There are two of each concept: at the hookpoint where SDXL-Turbo is edited, and at the one where the miniature is told
what to draw.

Prompts that name neither an object nor a style are among the others of every concept, so that its detector's gate
stays closed on them.

It runs the pack's own nodes on the host's classes, so what is shipped is what a person's graph computes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saeuron.miniature.architecture import DECISIVE
from saeuron.miniature.loading import PROMPTS_FOLDER
from tools.host.unpack import REPOSITORY
from tools.pack import pack

from .drawings import OBJECTS, STYLES
from .training import import_host

PROMPTS = PROMPTS_FOLDER / "fit"
SHIPPED = REPOSITORY / "feature_sets" / "miniature"
HOOKPOINT = "up_blocks.0.attentions.1"
OVERLAP = {HOOKPOINT: 1.0, DECISIVE["objects"]: 0.1, DECISIVE["styles"]: 0.2}
"""As published at the published hookpoint; elsewhere features that stand for several concepts are left out."""

# Domain -> names of its prompt lists.
FIT_LISTS = {"objects": tuple(OBJECTS), "styles": tuple(f"style-{style}" for style in STYLES)}
NEUTRAL = "neutral"
"""The prompt list that names none of them."""

STATISTICS = "all_prompts.safetensors"
"""What random features for a control are drawn from; beside the feature sets."""

SAMPLING = {"sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 8, "cfg": 1.0, "width": 192, "height": 192}
NOTE = "Shipped with the pack; computed from saeuron/miniature/prompts/fit by tools.miniature.build_feature_sets."


def load_sae(hookpoint: str) -> Any:
    """SAE of the pack's node, the miniature's at `hookpoint`."""
    file = f"miniature-{hookpoint}.safetensors"
    return pack("nodes.load").SaeuronLoadSAE.execute(file, *["from file"] * 3).result[0]


def folder_of(hookpoint: str) -> Path:
    """Where its feature sets are shipped."""
    return SHIPPED if hookpoint == HOOKPOINT else SHIPPED / hookpoint


def load_feature_set(name: str, hookpoint: str) -> Any:
    """The shipped one of the concept `name`."""
    return pack("saeuron.features.feature_set").FeatureSet.load(folder_of(hookpoint) / f"{name}.json")


def collect(seed: int, miniature: tuple[Any, Any, Any], sae: Any, concepts: Iterable[str]) -> dict[str, Any]:
    """Statistics of each concept's fit prompts."""
    model, clip, _ = miniature
    node = pack("nodes.statistics").SaeuronCollectStatistics
    statistics = {}
    for concept in concepts:
        prompts = (PROMPTS / f"{concept}.txt").read_text(encoding="utf-8")
        statistics[concept] = node.execute(model, clip, sae, prompts, seed=seed, **SAMPLING).result[0]
    return statistics


def select(statistics: dict[str, Any], settings: Any) -> dict[str, Any]:
    """A feature set per concept, with its detector, compared with the others of its domain and with `NEUTRAL`.

    Objects are compared with objects, styles with styles.
    """
    merged = pack("saeuron.features.statistics").ActivationStatistics.merged
    select_features = pack("saeuron.features.selection").select_features
    feature_sets = {}
    neutral = [NEUTRAL] if NEUTRAL in statistics else []
    for domain in FIT_LISTS.values():
        present = [concept for concept in domain if concept in statistics]
        for concept in present:
            others = merged([statistics[other] for other in (*present, *neutral) if other != concept])
            feature_set = select_features(statistics[concept], others, settings)
            feature_sets[concept] = replace(feature_set, concept=concept, note=NOTE)
    return feature_sets


def build(miniature: tuple[Any, Any, Any], hookpoint: str, domains: Sequence[str], settings: Any, seed: int) -> None:
    """Write the feature sets of `domains` at `hookpoint`, and the statistics of the first domain's prompts."""
    began = time.monotonic()
    concepts = [concept for domain in domains for concept in FIT_LISTS[domain]]
    statistics = collect(seed, miniature, load_sae(hookpoint), [*concepts, NEUTRAL])
    folder = folder_of(hookpoint)
    folder.mkdir(exist_ok=True)
    for concept, feature_set in select(statistics, settings).items():
        feature_set.save(folder / f"{concept}.json")
    together = [statistics[concept] for concept in FIT_LISTS[domains[0]]]
    pack("saeuron.features.statistics").ActivationStatistics.merged(together).save(folder / STATISTICS, pictures=False)
    print(f"wrote {len(concepts)} feature sets at {hookpoint} in {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    import torch

    places = {HOOKPOINT: list(FIT_LISTS), **{hookpoint: [domain] for domain, hookpoint in DECISIVE.items()}}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hookpoints", nargs="+", choices=places, default=list(places))
    parser.add_argument("--tau", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import_host()
    make = pack("saeuron.features.selection").SelectionSettings
    with torch.inference_mode():
        miniature = pack("nodes.load").SaeuronLoadMiniature.execute().result
        for hookpoint in arguments.hookpoints:
            settings = make(tau=arguments.tau, overlap=OVERLAP[hookpoint])
            build(miniature, hookpoint, places[hookpoint], settings, arguments.seed)


if __name__ == "__main__":
    main()
