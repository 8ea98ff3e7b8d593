"""A small CLIP in the host's CLIP_VISION.

The host's own loader knows a checkpoint by its number of layers, and knows none with fewer than 23. The class behind it
takes any configuration that transformers writes.
"""

from __future__ import annotations

from pathlib import Path

import comfy.clip_vision

from ...saeuron.errors import SaeuronError
from ...saeuron.files import read_safetensors

PROJECTION = "visual_projection.weight"


def load_clip_vision(folder: Path) -> comfy.clip_vision.ClipVisionModel:
    """From a folder to which transformers saved a ``CLIPVisionModelWithProjection``, with two layers or more.

    Errors: `SaeuronError` if files are missing or do not belong together.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise SaeuronError(f"There is no CLIP in {folder.name!r}: its config.json is missing. Reinstall the pack.")
    weights, _ = read_safetensors(folder / "model.safetensors")
    try:
        clip = comfy.clip_vision.ClipVisionModel(str(config))
        missing, unexpected = clip.load_sd(weights)
    except (KeyError, RuntimeError, TypeError) as error:
        raise SaeuronError(f"The CLIP in {folder.name!r} does not fit the host's: {str(error)[:300]}") from error
    if PROJECTION not in weights and PROJECTION not in missing:
        missing = [*missing, PROJECTION]  # newer hosts do without it, and their embeddings are no CLIP embeddings then
    if missing or unexpected:
        raise SaeuronError(
            f"The weights of the CLIP in {folder.name!r} do not fit its config.json: "
            f"missing {missing[:4]}, unexpected {unexpected[:4]}."
        )
    return clip
