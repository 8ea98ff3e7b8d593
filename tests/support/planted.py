"""Tokens of which it is known what a sparse autoencoder should find in them."""

from __future__ import annotations

import torch
from torch import Tensor

from saeuron.training.activations import Stored

D, FEATURES, ACTIVE = 16, 24, 2


def planted(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Tokens [count, 16] that are positive sums of 2 of 24 directions, off centre and in a scale of their own."""
    # Not a seed of a trainer's, whose first features would be the directions themselves.
    generator = torch.Generator().manual_seed(982_451_653 + seed)
    directions = torch.nn.functional.normalize(torch.randn(FEATURES, D, generator=generator), dim=1)
    which = torch.rand(count, FEATURES, generator=generator).topk(ACTIVE).indices
    strengths = 1 + torch.rand(count, ACTIVE, generator=generator)
    f = torch.zeros(count, FEATURES).scatter(1, which, strengths)
    return f @ directions * 7 + 3, directions


def planted_activations(pictures: int = 80, steps: int = 4, tokens: int = 25, seed: int = 0) -> Stored:
    """Of two hookpoints, the second with four times the tokens; every third picture is labelled."""
    own, more = (planted(pictures * steps * t, seed)[0].view(pictures, steps, t, D) for t in (tokens, 4 * tokens))
    labels = ["third" if picture % 3 == 0 else "" for picture in range(pictures)]
    sigmas = tuple(float(2 ** (steps - step)) for step in range(steps))
    return Stored(
        "saeuron-miniature",
        "update",
        sigmas,
        {"mid_block.attentions.0": own.half(), "up_blocks.0.attentions.1": more.half()},
        labels,
    )
