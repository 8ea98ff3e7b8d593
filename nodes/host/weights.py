"""What tells a model with its LoRAs from another, over restarts: there is no path in the host's MODEL and CLIP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

LOOKED_AT = 64
"""Tensors whose numbers are read; names and shapes of all of them count. A fine-tune changes them all."""

NUMBERS = 32
"""Of each tensor, from its beginning and its end."""


def weights_digest(*patchers: Any) -> str:
    """Sixteen hexadecimal digits, equal for MODELs (or CLIPs' ``patcher``) with the same weights and LoRAs.

    It does not matter where the weights lie and whether LoRAs have been written into them already.
    """
    digest = hashlib.sha256()
    for patcher in patchers:
        weights: dict[str, Tensor] = dict(patcher.model.named_parameters())
        names = sorted(weights)
        for name in names:
            digest.update(f"{name} {list(weights[name].shape)}".encode())
        for name in names[:: max(1, len(names) // LOOKED_AT)]:
            # What a LoRA has been written into is kept beside it.
            _update(digest, patcher.backup[name].weight if name in patcher.backup else weights[name])
        for name in sorted(patcher.patches, key=str):
            digest.update(str(name).encode())
            for patch in patcher.patches[name]:
                _update_with_patch(digest, patch)
    return digest.hexdigest()[:16]


def _update(digest: Any, tensor: Tensor) -> None:
    flat = tensor.detach().flatten()
    ends = torch.cat([flat[:NUMBERS], flat[-NUMBERS:]])
    digest.update(ends.to("cpu", torch.float32).numpy().tobytes())


def _update_with_patch(digest: Any, part: Any) -> None:
    """A LoRA as the host keeps it: strengths, and tensors in tuples, lists or objects of its own."""
    if isinstance(part, Tensor):
        _update(digest, part)
    elif isinstance(part, Iterable) and not isinstance(part, str):
        for inner in part:
            _update_with_patch(digest, inner)
    elif hasattr(part, "weights"):
        _update_with_patch(digest, part.weights)
    else:
        digest.update(
            repr(part).encode() if isinstance(part, int | float | str | None) else type(part).__name__.encode()
        )
