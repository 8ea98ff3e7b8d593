"""Edits must not make numbers that are not finite: the picture would be black, and nobody would know why."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import SaeuronError


def is_finite(edited: Tensor, before: Tensor) -> bool:
    """Whether `edited`, which was made of `before`, has neither NaN nor infinities.

    Errors: `SaeuronError` if the edit is not to blame, because `before` had them already.
    """
    if torch.isfinite(edited).all():
        return True
    if not torch.isfinite(before).all():
        raise SaeuronError(
            "The model's own activation is not finite, before anything is edited. Run the model in bfloat16 or "
            "float32, and look at what else is on it, such as LoRAs and merged models."
        )
    return False
