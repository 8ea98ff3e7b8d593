"""Compute the shipped feature sets of the miniature, all 20 objects and 5 styles, from ``feature_sets/prompts/fit``.

It runs the pack's own nodes on the host's classes, so what is shipped is what a person's graph computes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.host import REPOSITORY
from tools.pack import pack

from .drawings import OBJECTS, STYLES
from .training import import_host

PROMPTS = REPOSITORY / "feature_sets" / "prompts" / "fit"
HOOKPOINT = "up_blocks.0.attentions.1"
PROMPT_LISTS = (*OBJECTS, *(f"style-{style}" for style in STYLES))
SAMPLING = {"sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 8, "cfg": 1.0, "width": 192, "height": 192}
NOTE = "Shipped with the pack; computed from feature_sets/prompts/fit by tools.miniature.build_feature_sets."


def load_sae(hookpoint: str) -> Any:
    """SAE of the pack's node, the miniature's at `hookpoint`."""
    file = f"miniature-{hookpoint}.safetensors"
    return pack("nodes.load").SaeuronLoadSAE.execute(file, *["from file"] * 3).result[0]


def collect(seed: int, miniature: tuple[Any, Any, Any], sae: Any) -> dict[str, Any]:
    """Statistics of each concept's fit prompts."""
    model, clip, _ = miniature
    node = pack("nodes.statistics").SaeuronCollectStatistics
    statistics = {}
    for concept in PROMPT_LISTS:
        prompts = (PROMPTS / f"{concept}.txt").read_text(encoding="utf-8")
        statistics[concept] = node.execute(model, clip, sae, prompts, seed=seed, **SAMPLING).result[0]
    return statistics


def select(statistics: dict[str, Any], settings: Any) -> dict[str, Any]:
    """A feature set per concept, compared with the others of its domain: objects with objects, styles with styles."""
    merged = pack("saeuron.statistics").ActivationStatistics.merged
    select_features = pack("saeuron.selection").select_features
    feature_sets = {}
    for domain in (list(OBJECTS), [f"style-{style}" for style in STYLES]):
        for concept in domain:
            others = merged([statistics[other] for other in domain if other != concept])
            feature_set = select_features(statistics[concept], others, settings)
            feature_sets[concept] = replace(feature_set, concept=concept, note=NOTE)
    return feature_sets


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "feature_sets" / "miniature")
    parser.add_argument("--tau", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import_host()
    began = time.monotonic()
    settings = pack("saeuron.selection").SelectionSettings(tau=arguments.tau)
    with torch.inference_mode():
        miniature = pack("nodes.load").SaeuronLoadMiniature.execute().result
        statistics = collect(arguments.seed, miniature, load_sae(HOOKPOINT))
    for concept, feature_set in select(statistics, settings).items():
        feature_set.save(arguments.output / f"{concept}.json")
    # What random features for a control are drawn from.
    together = pack("saeuron.statistics").ActivationStatistics.merged([statistics[concept] for concept in OBJECTS])
    together.save(arguments.output / "all_prompts.safetensors")
    print(f"wrote {len(statistics)} feature sets in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
