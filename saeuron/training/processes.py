"""The processes that train one SAE together: each has a part of every batch, and all have the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def _alone(module: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, torch.optim.Optimizer]:
    return module, optimizer


def _backward(loss: Tensor) -> None:
    loss.backward()


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Processes:
    """By default there is this one alone."""

    rank: int = 0
    count: int = 1
    device: torch.device | None = None
    """Where this process is to train; None: wherever it likes."""
    prepare: Callable[[Any, torch.optim.Optimizer], tuple[Any, torch.optim.Optimizer]] = _alone
    """Makes a module whose gradients are the mean over all processes."""
    backward: Callable[[Tensor], None] = _backward
    mean: Callable[[Tensor], Tensor] = _same
    """Of each element over all processes."""
    gather: Callable[[Tensor], Tensor] = _same
    """[rows, ...] of all processes, one after another."""


ALONE = Processes()


def accelerated() -> Processes:
    """Those that ``accelerate launch`` has started, with PyTorch's DistributedDataParallel.

    Errors: `SaeuronError` if accelerate is not installed.
    """
    from ..optional import require

    accelerator = require("accelerate", "accelerate", "Training in several processes").Accelerator()
    if accelerator.num_processes == 1:
        return ALONE

    def prepare(module: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, torch.optim.Optimizer]:
        prepared: tuple[Any, torch.optim.Optimizer] = accelerator.prepare(module, optimizer)
        return prepared

    return Processes(
        accelerator.process_index,
        accelerator.num_processes,
        accelerator.device,
        prepare,
        accelerator.backward,
        lambda x: accelerator.reduce(x, reduction="mean"),
        accelerator.gather,
    )
