"""Whether activations are those that a training was begun on: told by what they are, not by what made them.

What packs put on a model is functions, of which it can't be told over a restart whether they are the same. The pictures
that they draw can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DIRECTIONS = 4
"""Random ones, onto which the tokens of each picture and step are projected, all together: what changes some of them
changes the projections, but for a chance that vanishes."""

SAME = 0.02
"""Deviations. What is below it is rounding (other threads, another machine), or changes a thousandth of the variance at
most, of which a training would notice nothing."""


def fingerprint(parts: Sequence[Tensor]) -> Tensor:
    """float32 [p, `DIRECTIONS`] of tokens [pictures, s, t, d] each, with a row for every picture and step."""
    rows = torch.cat([part.flatten(2).flatten(0, 1) for part in parts])
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(rows.shape[1], DIRECTIONS, generator=generator) / rows.shape[1] ** 0.5
    return torch.cat([some.float().cpu() @ directions for some in rows.split(64)])


def differ(before: Tensor, now: Tensor, deviation: float) -> float:
    """The root mean square of the change of the tokens that changed most, in deviations of theirs; infinite where there
    are more or fewer of them."""
    if before.shape != now.shape:
        return float("inf")
    return float((now - before).square().mean(1).sqrt().max()) / deviation
