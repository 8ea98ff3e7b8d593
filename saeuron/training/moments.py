"""Mean and deviation of tokens at each denoising step: what they are centred and scaled by.

How many features die follows the length of the mean in deviations. Were it left in, each feature's encoder would first
see how far it points along the mean, and only those that point along it would ever be among the k largest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SaeuronError


class Moments(NamedTuple):
    means: Tensor
    """[s, d] float32, of each step."""
    deviation: float
    """Root mean square of a coordinate of the tokens minus `centre`."""
    offsets: tuple[float, ...]
    """|mean| / deviation of each step's tokens, as lengths of vectors."""

    @property
    def centre(self) -> Tensor:
        """[d]: the mean over all steps, each counted alike."""
        return self.means.mean(0)


def moments_of(tokens: Tensor) -> Moments:
    """Of tokens [pictures, s, t, d] of any float dtype.

    Errors: `SaeuronError` if they are not finite or all the same.
    """
    if not torch.isfinite(tokens).all():
        raise SaeuronError(
            "The activations hold values that are not finite. Run the model in bfloat16 or float32, or choose another "
            "hookpoint."
        )
    means, squares = [], []
    for step in tokens.unbind(1):
        flat = step.flatten(0, 1)
        means.append(flat.double().mean(0))
        squares.append((flat.double() - means[-1]).square().mean(0))
    mean, variance = torch.stack(means), torch.stack(squares)  # [s, d]
    overall = float((variance + (mean - mean.mean(0)).square()).mean()) ** 0.5
    if not overall > 0:
        raise SaeuronError("All activations are the same: there is nothing to learn. Choose another hookpoint.")
    offsets = mean.norm(dim=1) / variance.sum(1).sqrt()
    return Moments(mean.float(), overall, tuple(offsets.tolist()))
