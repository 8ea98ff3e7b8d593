"""Muon (Jordan et al. 2024) for the matrices inside, convolutions flattened to matrices too; AdamW for the rest.

The matrices of one shape are updated together: one by one, as torch's Muon does it, a GPU would wait for Python.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration
ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """[count, rows, columns] with all singular values brought near 1, bfloat16."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Optimizer:
    """`outer` are the weights that face pictures or words, which AdamW is better for."""

    def __init__(self, model: torch.nn.Module, outer: list[torch.nn.Parameter]) -> None:
        excluded = {id(parameter) for parameter in outer}
        shapes: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        others = []
        for parameter in model.parameters():
            if parameter.ndim > 1 and id(parameter) not in excluded:
                shapes[len(parameter), parameter[0].numel()].append(parameter)
            else:
                others.append(parameter)
        self.groups = list(shapes.values())
        self.momentum = [torch.zeros(len(group), *shape, device=group[0].device) for shape, group in shapes.items()]
        self.adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY, fused=True)
        self.parameters = [*(parameter for group in self.groups for parameter in group), *others]

    def step(self, rate: float) -> None:
        """One step; clears the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        with torch.no_grad():
            for group, momentum in zip(self.groups, self.momentum, strict=True):
                gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
                gradient = torch.stack([g.flatten(1) for g in gradients])
                momentum.lerp_(gradient, 1 - MOMENTUM)
                update = orthogonalised(gradient.lerp_(momentum, MOMENTUM)).float()
                scale = 0.2 * max(update.shape[1:]) ** 0.5  # as large as AdamW's, so that one rate serves both
                torch._foreach_mul_(group, 1 - rate * WEIGHT_DECAY)
                updates = [u.view_as(p) for u, p in zip(update.contiguous().unbind(0), group, strict=True)]
                torch._foreach_add_(group, updates, alpha=-rate * scale)
        for settings in self.adam.param_groups:
            settings["lr"] = rate
        self.adam.step()
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for ours, saved in zip(self.momentum, state["momentum"], strict=True):
            ours.copy_(saved)
        self.adam.load_state_dict(state["adam"])
