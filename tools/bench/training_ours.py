"""Our trainer, as the benchmark runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from torch import Tensor

from saeuron.training.moments import moments_of
from saeuron.training.settings import TrainingSettings
from saeuron.training.trainer import Trainer

from .training_loop import RATE, Step, run


def start(tokens: Tensor, d: int, n: int, k: int, steps: int) -> tuple[Step, Callable[[Tensor], Tensor]]:
    settings = TrainingSettings(n, k, steps=steps, rate=RATE)
    trainer = Trainer(settings, moments_of(tokens[:8192].view(1, 1, -1, d)))

    def reconstruct(x: Tensor) -> Tensor:
        sae = trainer.sae()
        return sae.decode(sae.encode(x))

    return lambda _number, x: trainer.step(x), reconstruct


if __name__ == "__main__":
    run(start, sys.argv[1], *map(int, sys.argv[2:]))
