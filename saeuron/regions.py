"""Parts of a picture that people paint, brought to the resolution at which a block has its tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .errors import SaeuronError

INSIDE = 0.5
"""A token belongs to a region if this share of it or more is painted."""


def check_region(region: Tensor) -> None:
    """Errors: `SaeuronError` unless `region` is masks [M, H, W]."""
    if region.ndim != 3 or not region.numel():
        raise SaeuronError(f"A mask has the shape [masks, height, width], found {list(region.shape)}.")


def token_weights(region: Tensor, height: int, width: int) -> Tensor:
    """Masks [M, H, W] of any resolution -> [M, height, width] float32, 0 to 1: the painted share of each token."""
    check_region(region)
    return F.interpolate(region.float().clamp(0, 1).unsqueeze(1), (height, width), mode="area").squeeze(1)


def tokens_inside(region: Tensor, height: int, width: int) -> Tensor:
    """Which tokens are inside the first mask of `region`: bool [height, width].

    Errors: `SaeuronError` if none or all are, so that there is nothing to tell apart.
    """
    inside = token_weights(region[:1], height, width)[0] >= INSIDE
    if not inside.any() or inside.all():
        found = "covers the whole picture" if inside.all() else f"fills none of the block's {width} x {height} tokens"
        raise SaeuronError(f"The painted region {found}. Paint the part of the picture that you mean.")
    return inside
