"""Adding features with signed strengths while the model runs, everywhere or where a mask says.

    out  <-  out + region * sum_i strength_i * W_dec[i]

A strength is in units of the feature's activation: at full region the block's output becomes what it would be if
f_i were larger by ``strength_i``. This is the turning up and down of Surkov et al., arXiv 2410.22366. Their painting
app writes the same as ``mask * mean_i * strength``, where mean_i is the feature's mean activation where it is active:
a strength here is theirs times that mean. Nothing is encoded, so features can be added that are not there at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as brief  # what strangers wrote may be long
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..finite import is_finite
from ..regions import check_region
from ..sae.model import SparseAutoencoder
from .call import Call
from .when import ALWAYS, When
from .where import row_weights

MAX_FEATURES = 1000


@dataclass(frozen=True, eq=False)
class Steering:
    """Features to add at one hookpoint."""

    strengths: tuple[tuple[int, float], ...]
    """(feature index, strength); each feature once."""

    when: When = ALWAYS
    region: Tensor | None = None
    """Where they are added, as `row_weights` takes it."""

    last: ClassVar[bool] = True
    group: ClassVar[str] = "steering"

    def __post_init__(self) -> None:
        indices = [index for index, _ in self.strengths]
        if len(set(indices)) != len(indices):
            raise SaeuronError(f"A feature is listed twice: {brief(sorted(indices))}. Give each one strength.")
        for index, strength in self.strengths:
            if index < 0 or not math.isfinite(strength):
                raise SaeuronError(f"Feature {index}: its index must be 0 or more and its strength finite.")
        if self.region is not None:
            check_region(self.region)

    def check_features(self, n: int) -> None:
        """Errors: `SaeuronError` if a feature is not one of an SAE with `n` features."""
        if beyond := [index for index, _ in self.strengths if index >= n]:
            raise SaeuronError(f"There is no feature {max(beyond)}: the connected SAE's features are 0 to {n - 1}.")

    def direction(self, sae: SparseAutoencoder, device: torch.device) -> Tensor | None:
        """``sum_i strength_i * W_dec[i]``, float32 [d]; None if all strengths are 0."""
        chosen = [(index, strength) for index, strength in self.strengths if strength]
        if not chosen:
            return None
        indices, strengths = zip(*chosen, strict=True)
        rows = sae.decoder_rows(torch.tensor(indices, dtype=torch.int64, device=device))
        return torch.tensor(strengths, dtype=torch.float32, device=device) @ rows

    @staticmethod
    def apply_together(
        steerings: Sequence[Steering],
        sae: SparseAutoencoder,
        kind: str,
        call: Call,
        rows: Sequence[int],
        block_input: Tensor,
        block_output: Tensor,
    ) -> Tensor:
        """`steer` on `rows` of `call`; what the block was given does not matter."""
        return steer(sae, steerings, call, rows, block_output)


def steer(
    sae: SparseAutoencoder, steerings: Sequence[Steering], call: Call, rows: Sequence[int], block_output: Tensor
) -> Tensor:
    """The block's output [len(rows), H, W, d] for `rows` of `call` after `steerings`, which all act.

    Computed in float32, returned in the output's dtype. Tokens to which nothing is added keep their exact bits, and
    where there are none to change, `block_output` itself is returned.
    Errors: `SaeuronError` if a token to which something is added is not finite then, or as `row_weights`.
    """
    device, (height, width) = block_output.device, block_output.shape[1:3]
    added: Tensor | None = None
    for steering in steerings:
        if (direction := steering.direction(sae, device)) is not None:
            weights = row_weights(steering.region, call, rows, height, width, device)
            part = direction.expand_as(block_output) if weights is None else weights.unsqueeze(-1) * direction
            added = part if added is None else added + part
    if added is None:
        return block_output
    touched = (added != 0).any(-1, keepdim=True)
    steered = torch.where(touched, (block_output.float() + added).to(block_output.dtype), block_output)
    tokens = touched.squeeze(-1)
    if not is_finite(steered[tokens], block_output[tokens]):
        raise SaeuronError(
            "The steered activation is not finite. Move the strengths closer to 0, or run the model in bfloat16 or "
            "float32."
        )
    return steered


_LINE = re.compile(r"([0-9]{1,9})\s*:\s*(\S+)")


def parse_strengths(text: str) -> tuple[tuple[int, float], ...]:
    """Lines ``index: strength``; empty lines and what follows a # are left out.

    Errors: `SaeuronError` naming the line, for none or too many, and for a feature that is listed twice.
    """
    strengths: dict[int, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (entry := line.partition("#")[0].strip()):
            continue
        match = _LINE.fullmatch(entry)
        strength = _finite(match.group(2)) if match else None
        if match is None or strength is None:
            raise SaeuronError(f"Line {number}, {entry[:80]!r}: write a feature and its strength like 123: -4.5.")
        index = int(match.group(1))
        if index in strengths:
            raise SaeuronError(f"Line {number}: feature {index} is listed twice.")
        strengths[index] = strength
    if not 1 <= len(strengths) <= MAX_FEATURES:
        raise SaeuronError(f"List 1 to {MAX_FEATURES} features, one a line, like 123: -4.5; found {len(strengths)}.")
    return tuple(strengths.items())


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
