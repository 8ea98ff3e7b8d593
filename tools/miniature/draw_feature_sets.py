"""Draw the pictures before and after in the shipped feature sets of the miniature.

Each shows the first held-out prompt of its concept at one seed, without and with Unlearn at its defaults, whatever
comes of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from saeuron.miniature.architecture import DECISIVE
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from saeuron.shots import Shot
from tools.pack import pack

from .build_feature_sets import FIT_LISTS, HOOKPOINT, SAMPLING, folder_of, load_feature_set, load_sae
from .training import import_host

SEED = 7
MULTIPLIER, MODE, RULE = -50.0, "exact", "relative"
HEIGHT = 126  # pixels; both together are 256 wide


def draw(miniature: tuple[Any, Any, Any], hookpoint: str, concepts: tuple[str, ...]) -> None:
    """Put a picture into each of the feature sets at `hookpoint`, and the rest of the file stays as it is."""
    settings = pack("nodes.host.inputs").SamplingSettings.from_inputs(**SAMPLING)
    pipeline = pack("nodes.host.drawing").HostPipeline(*miniature, load_sae(hookpoint), settings, 1)
    for concept in concepts:
        feature_set = load_feature_set(concept, hookpoint)
        shot = Shot(read_prompts(PROMPTS_FOLDER / "heldout" / f"{concept}.txt")[0], SEED)
        edit = pack("saeuron.edits.intervention").Intervention(feature_set, MULTIPLIER, MODE, RULE)
        before, after = (pipeline.draw([shot], edits)[0] for edits in ([], [edit]))
        picture = pack("saeuron.features.before_after").BeforeAfter.of(before, after, HEIGHT)
        replace(feature_set, picture=picture).save(folder_of(hookpoint) / f"{concept}.json")
        print(f"{hookpoint} {concept}: {len(picture.jpeg)} bytes, {shot.prompt!r}", flush=True)


def main() -> None:
    import torch

    import_host()
    with torch.inference_mode():
        miniature = pack("nodes.load").SaeuronLoadMiniature.execute().result
        for domain, concepts in FIT_LISTS.items():
            for hookpoint in (HOOKPOINT, DECISIVE[domain]):
                draw(miniature, hookpoint, concepts)


if __name__ == "__main__":
    main()
