"""The peers' trainers, run by the Python of an environment that has them: sparsify and dictionary_learning.

Both with Adam at the same rate as ours, warmed up over a tenth of the steps, and otherwise as they are by default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor
from training_loop import RATE, Start, Step, run


def sparsify(tokens: Tensor, d: int, n: int, k: int, steps: int) -> tuple[Step, Callable[[Tensor], Tensor]]:
    """Its SparseCoder, and the loop of its Trainer: the first batch's mean as bias, unit norms, the gradient across."""
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(d, SparseCoderConfig(num_latents=n, k=k))
    optimizer = torch.optim.Adam(coder.parameters(), lr=RATE)
    warm_up = max(1, steps // 10)

    def step(number: int, x: Tensor) -> None:
        if number == 0:
            coder.b_dec.data = x.mean(0)
        coder.set_decoder_norm_to_unit_norm()
        coder(x).fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (number + 1) / warm_up)
        optimizer.step()
        optimizer.zero_grad()

    return step, lambda x: coder(x).sae_out


def dictionary_learning(tokens: Tensor, d: int, n: int, k: int, steps: int) -> tuple[Step, Callable[[Tensor], Tensor]]:
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(
        steps, d, n, k, layer=0, lm_name="", lr=RATE, warmup_steps=max(1, steps // 10), seed=0, device="cpu"
    )
    return trainer.update, trainer.ae


STARTS: dict[str, Start] = {"sparsify": sparsify, "dictionary_learning": dictionary_learning}

if __name__ == "__main__":
    run(STARTS[sys.argv[1]], sys.argv[2], *map(int, sys.argv[3:]))
