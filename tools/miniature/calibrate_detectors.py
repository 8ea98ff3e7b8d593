"""Teach the shipped feature sets of the miniature to find their concepts in pictures, too.

As the node Calibrate Detector does it, but each concept's pictures are drawn once and serve as the others of the rest.
"""

from __future__ import annotations

import argparse
from typing import Any

from saeuron.miniature.architecture import DECISIVE
from saeuron.prompts import read_prompts
from saeuron.shots import shots_of
from tools.pack import pack

from .build_feature_sets import (
    FIT_LISTS,
    HOOKPOINT,
    NEUTRAL,
    PROMPTS,
    SAMPLING,
    folder_of,
    load_feature_set,
    load_sae,
)
from .training import import_host

SEED = 8_000_000


def learn(miniature: tuple[Any, Any, Any], hookpoint: str, domain: str, pictures: int) -> None:
    """Write the gates of all feature sets of `domain` at `hookpoint`."""
    model, clip, _ = miniature
    settings = pack("nodes.host.inputs").SamplingSettings.from_inputs(**SAMPLING)
    lists = (*FIT_LISTS[domain], NEUTRAL)
    reader = pack("nodes.host.reading").PictureReader(model, clip, load_sae(hookpoint), settings, 0)
    first, noised = {}, {}
    for number, concept in enumerate(lists):
        prompts = read_prompts(PROMPTS / f"{concept}.txt")
        shots = shots_of(prompts[:: len(prompts) // pictures][:pictures], 1, SEED + number * pictures)
        first[concept] = reader.first(shots)
        noised[concept] = reader.noised(shots, reader.draw(shots))
    learn_pictures = pack("saeuron.features.reading").learn_pictures
    for concept in FIT_LISTS[domain]:
        others = [codes for other in lists if other != concept for codes in noised[other]]
        levels = reader.sigmas[0], reader.noised_sigma
        feature_set = load_feature_set(concept, hookpoint)
        learned, _ = learn_pictures(feature_set, first[concept], noised[concept], others, *levels)
        learned.save(folder_of(hookpoint) / f"{concept}.json")
        print(hookpoint, concept, learned.detector.describe(), flush=True)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20, help="of each concept")
    arguments = parser.parse_args()
    import_host()
    with torch.inference_mode():
        miniature = pack("nodes.load").SaeuronLoadMiniature.execute().result
        for domain in FIT_LISTS:
            for hookpoint in (HOOKPOINT, DECISIVE[domain]):
                learn(miniature, hookpoint, domain, arguments.pictures)


if __name__ == "__main__":
    main()
