"""Masks over a block's tokens: weights [B, h, w] float32 from 0 to 1. Where a weight is 0, nothing is ever done.

Distances are in tokens, diagonal neighbours count as near ones: a token's neighbourhood is a square.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 0.25
"""An open mask that covers less than this share of the map grows until it does: the trial's one miss had 19 %."""


def grow(mask: Tensor, tokens: int) -> Tensor:
    """`mask` and all that is at most `tokens` away from it; each token gets the highest weight found there."""
    if not tokens:
        return mask
    return F.max_pool2d(mask.unsqueeze(1), 2 * tokens + 1, stride=1, padding=tokens).squeeze(1)


def grow_small(mask: Tensor, smallest: float = SMALLEST) -> Tensor:
    """Each picture's mask, token by token grown until its weights sum to a share of `smallest` of the map.

    An empty mask stays empty, one that is large enough as it is.
    """
    for _ in range(max(mask.shape[1:])):
        share = mask.mean((1, 2), keepdim=True)
        small = (share > 0) & (share < smallest)
        if not small.any():
            break
        mask = torch.where(small, grow(mask, 1), mask)
    return mask


def feather(mask: Tensor, tokens: int) -> Tensor:
    """A soft edge around `mask`: weights fall evenly, to 0 at a distance of ``tokens + 1``. The mask itself stays."""
    soft = mask
    for distance in range(1, tokens + 1):
        soft = torch.maximum(soft, grow(mask, distance) * (1 - distance / (tokens + 1)))
    return soft


def resize(mask: Tensor, height: int, width: int) -> Tensor:
    """`mask` [B, h, w] on a map of `height` x `width`: each token gets the mean of the area that it covers.

    Area and not nearest, so that no marked token is lost on a coarser map: a mask that is not empty stays so. Weights
    stay in [0, 1], and where all of the area has weight 1 the result is exactly 1. Written as two products because the
    adaptive pooling behind `interpolate`'s area mode does not run on MPS for all sizes.
    """
    if mask.shape[1:] == (height, width):
        return mask
    rows = _overlap(mask.shape[1], height, mask.device)
    columns = _overlap(mask.shape[2], width, mask.device)
    covered = rows @ mask.float() @ columns.T
    return covered / (mask.shape[1] * mask.shape[2])


def smooth(values: Tensor) -> Tensor:
    """The mean of each value of [B, h, w] and its neighbours; at the border of those that there are."""
    return F.avg_pool2d(values.unsqueeze(1), 3, stride=1, padding=1, count_include_pad=False).squeeze(1)


def above_mean(values: Tensor) -> Tensor:
    """bool [B, h, w]: where each picture's values are above their mean; nowhere if all are equal."""
    return values > values.mean((1, 2), keepdim=True)


def above_otsu(values: Tensor) -> Tensor:
    """bool [B, h, w]: the upper of the two classes into which each picture's values fall best; none if all are equal.

    Otsu, IEEE Transactions on Systems, Man, and Cybernetics 9, 1979: the cut with the largest variance between the
    classes, ``w0 w1 (m1 - m0)^2``; here over the sorted values themselves, without a histogram.
    """
    ordered = values.flatten(1).sort(1).values
    count = ordered.shape[1]
    if count < 2:
        return torch.zeros_like(values, dtype=torch.bool)
    below = torch.arange(1, count, device=values.device)  # how many are in the lower class
    sums = ordered.cumsum(1)
    lower = sums[:, :-1] / below
    upper = (sums[:, -1:] - sums[:, :-1]) / (count - below)
    between = below * (count - below) * (upper - lower).square()
    # Equal values can't be told apart: no cut runs between them.
    between = torch.where(ordered[:, 1:] > ordered[:, :-1], between, -1)
    best = between.argmax(1, keepdim=True)
    cut = torch.where(between.gather(1, best) >= 0, ordered.gather(1, best), torch.inf)
    return values > cut.unsqueeze(-1)


def _overlap(old: int, new: int, device: torch.device) -> Tensor:
    """[new, old] float32: how much of old token j new token i covers, in units of which each new one has `old`.

    Whole numbers, so that the sums over a token are exact.
    """
    i, j = torch.arange(new, device=device).unsqueeze(1), torch.arange(old, device=device)
    ends = torch.minimum((i + 1) * old, (j + 1) * new)
    starts = torch.maximum(i * old, j * new)
    return (ends - starts).clamp(min=0).float()
