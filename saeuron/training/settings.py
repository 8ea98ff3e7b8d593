"""What an SAE is trained to be, and how."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import SaeuronError

ACTIVATIONS = ("topk", "batchtopk")

FALLING = 0.2
"""Share of a training over which the rate falls."""


@dataclass(frozen=True)
class TrainingSettings:
    """Errors: `SaeuronError` for sizes that make no sense."""

    n: int
    k: int
    steps: int = 3000
    batch: int = 2048
    """Tokens a step, over all processes."""

    activation: str = "topk"
    """``topk`` keeps k features of each token; ``batchtopk`` k times the batch's size of all its tokens' features
    (Bussmann et al., arXiv 2412.06410); what comes of it has a threshold in place of k."""

    rate: float = 1e-3
    aux_k: int = 64
    """Features that never fire learn what the others leave over, so many for each token (Gao et al., arXiv 2406.04093,
    section A.2)."""
    aux_weight: float = 1 / 32
    dead_after: int = 200_000
    """Tokens. A feature that fires on none of so many counts as dead while it is trained."""

    unit: float = 1.0
    """Of the codes, in root mean square coordinates of the centred tokens. It changes no reconstruction, but gamma * mu
    is as large as mu is, so it is chosen for convenient multipliers."""

    seed: int = 0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise SaeuronError(f"The activation is one of {', '.join(ACTIVATIONS)}; found {self.activation!r}.")
        if not 0 < self.k <= self.n:
            raise SaeuronError(f"An SAE keeps between 1 and n features per token; found k {self.k}, n {self.n}.")
        if min(self.steps, self.batch) < 1 or not 0 < self.rate < math.inf or not 0 < self.unit < math.inf:
            raise SaeuronError(
                "Training takes at least 1 step, a batch of at least 1 token, and a rate and a unit above 0; found "
                f"{self.steps}, {self.batch}, {self.rate} and {self.unit}."
            )

    @property
    def candidates(self) -> int:
        """How many features of each token are looked at. A token of a ``batchtopk`` SAE keeps no more than 4 k."""
        return min(self.n, 4 * self.k) if self.activation == "batchtopk" else self.k

    def rate_at(self, step: int) -> float:
        """Of steps 0 to `steps` - 1: a linear warm-up over at most 100, and a linear fall to 0 over the last fifth."""
        warm_up = min(100, self.steps // 10 + 1)
        falling = (self.steps - step) / (FALLING * self.steps)
        return self.rate * min((step + 1) / warm_up, 1.0, falling)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)
