"""Between the host's IMAGE and the pictures that the library judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...saeuron.errors import SaeuronError

EMBEDDED_AT_ONCE = 32


def to_pixels(images: Tensor) -> np.ndarray:
    """IMAGE, float [B, H, W, 3 or 4] in 0..1 -> uint8 [B, H, W, 3]; transparency is left out."""
    pixels: np.ndarray = images[..., :3].clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return pixels


def as_image(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] as the host's IMAGE, float32 in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255


def embed(clip_vision: Any, images: Tensor) -> np.ndarray:
    """Image embeddings float32 [B, d] of the host's CLIP_VISION, which resizes and crops pictures itself."""
    if clip_vision is None:
        raise SaeuronError("The CLIP_VISION input holds nothing; connect Load CLIP Vision or Load Miniature CLIP.")
    rows = []
    for start in range(0, len(images), EMBEDDED_AT_ONCE):
        embedded = clip_vision.encode_image(images[start : start + EMBEDDED_AT_ONCE])["image_embeds"]
        if embedded.ndim != 2:
            raise SaeuronError(
                f"This CLIP_VISION gives {list(embedded.shape)} numbers for {len(embedded)} pictures instead of one "
                "embedding each, as SigLIP and DINO models do. Choose a CLIP."
            )
        rows.append(embedded.float().cpu().numpy())
    return np.concatenate(rows) if rows else np.empty((0, 1), np.float32)
