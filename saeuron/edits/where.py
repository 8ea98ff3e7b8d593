"""Where in the pictures of a call an edit acts: a painted region, brought to each row's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..regions import token_weights
from .call import Area, Call


def row_weights(
    region: Tensor | None, call: Call, rows: Sequence[int], height: int, width: int, device: torch.device
) -> Tensor | None:
    """How much each token of `rows` belongs to `region`: float32 [len(rows), height, width], 0 to 1.

    `region` is float [M, H, W] from 0 to 1 at any resolution; picture i of the batch takes mask i modulo M. None, for
    everywhere, gives None. A row that is about an area of the picture takes that part of its mask.
    Errors: `SaeuronError` if the call does not tell what that needs.
    """
    if region is None:
        return None
    pictures = [call.picture(row) % len(region) if len(region) > 1 else 0 for row in rows]
    areas = [call.area(row) for row in rows]
    # Shrunk for each place once: most rows are about the same ones.
    shrunk = {
        place: token_weights(_cut(region[place[0]], place[1]), height, width)[0]
        for place in dict.fromkeys(zip(pictures, areas, strict=True))
    }
    return torch.stack([shrunk[place] for place in zip(pictures, areas, strict=True)]).to(device)


def _cut(mask: Tensor, area: Area | None) -> Tensor:
    """The part of `mask` [H, W] that `area` is, as [1, h, w]: cut on the latent's grid, as the sampler cuts."""
    if area is None:
        return mask[None]
    whole = F.interpolate(mask.float()[None, None], area.whole, mode="area")[0]
    return whole[:, area.top : area.top + area.height, area.left : area.left + area.width]


def blend(before: Tensor, after: Tensor, weights: Tensor | None) -> Tensor:
    """`after` where `weights` [B, H, W] are 1, the exact bits of `before` [B, H, W, d] where they are 0, between them
    a mixture computed in float32; `before` itself if all are 0."""
    if weights is None or after is before:
        return after
    weights = weights.unsqueeze(-1)
    mixed = torch.lerp(before.float(), after.float(), weights).to(before.dtype)
    return torch.where(weights == 0, before, torch.where(weights == 1, after, mixed))
