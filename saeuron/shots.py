"""What the evaluation asks of whatever draws pictures: the host's sampler or the reference pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from .edits.apply import Edit


class Shot(NamedTuple):
    """One picture to draw: the same shot always starts from the same noise, whatever is done to the model."""

    prompt: str
    seed: int

    @property
    def name(self) -> str:
        """Another one for every picture, the same whenever it is drawn."""
        return f"{self.seed} {self.prompt}"


class Pipeline(Protocol):
    def draw_batches(
        self, shots: Sequence[Shot], edits: Sequence[Edit] = ()
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """Places in `shots` and their pictures uint8 [b, H, W, 3] of the model with `edits` on it.

        Every shot comes once, in batches of any size and order.
        """


def shots_of(prompts: Sequence[str], seeds: int, first_seed: int) -> list[Shot]:
    """`seeds` pictures of every prompt; no two shots share a seed."""
    return [
        Shot(prompt, first_seed + number * seeds + seed)
        for number, prompt in enumerate(prompts)
        for seed in range(seeds)
    ]


def endless_shot(prompts: Sequence[str], first_seed: int, number: int) -> Shot:
    """Shot `number` of an endless row in which every prompt comes once, in a shuffled order, before one comes again."""
    import torch

    round_, place = divmod(number, len(prompts))
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(round_))
    return Shot(prompts[int(order[place])], first_seed + number)
