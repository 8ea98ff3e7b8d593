"""CASteer: Gaintseva et al., "CASteer: Cross-Attention Steering for Controllable Concept Erasure", arXiv 2503.09630.

Steering vectors (section 3): of pairs of prompts that differ only by the concept X, drawn from the same noise, the
outputs of every cross-attention layer i at every step t are averaged over image tokens (equation 1) and over pairs;

    v_it = f(mean with X - mean without X)                                              (equation 2)

where f makes the length 1: the paper prints v / |v|^2, but calls <v, c> the length of a projection and the edit with
beta 2 a reflection, and both are so for unit vectors only. Removal, for every token's output c of the layer:

    c <- c - max(beta <v_it, c>, 0) v_it                        (equation 7; 6 in earlier versions and the README)

The paper takes beta 2 everywhere; here it is one of those that are tried. The pairs are the concept's prompts to fit
and the same ones with its word exchanged by hand for the others' in turn. The layer's output is that of its projection;
the conditional half is edited, as in the authors' own experiments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from saeuron.shots import Shot

from ..treatment import Edit, Parts

Layer = tuple[Any, ...]
"""The host's name of a cross-attention layer: ("output", 1), 0."""

Vectors = dict[Layer, list[tuple[float, Tensor]]]
"""Layer -> (noise level, unit vector [d]), one for each step."""


def steering_vector(with_concept: Tensor, without: Tensor) -> Tensor:
    """Equations 1 and 2: float64 [pairs, tokens, d] each -> [d] of length 1, or zeros where there is no difference."""
    difference = with_concept.double().mean((0, 1)) - without.double().mean((0, 1))
    length = difference.norm()
    return difference / length if length > 0 else difference


def steered(output: Tensor, vector: Tensor, beta: float) -> Tensor:
    """Equation 7 on a layer's output [..., tokens, d]."""
    amount = (beta * (output @ vector)).clamp(min=0)
    return output - amount.unsqueeze(-1) * vector


@dataclass
class Means:
    """Running sums of a layer's outputs over tokens and pictures, at every noise level."""

    sums: dict[tuple[Layer, float], Tensor] = field(default_factory=dict)
    counts: dict[tuple[Layer, float], int] = field(default_factory=dict)

    def add(self, output: Tensor, options: dict[str, Any]) -> Tensor:
        """An ``attn2_output_patch`` that changes nothing."""
        rows = positive_rows(output, options)
        key = layer_of(options), sigma_of(options)
        tokens = output[rows].double().flatten(0, 1)
        self.sums[key] = self.sums.get(key, torch.zeros(tokens.shape[1], dtype=torch.float64)) + tokens.sum(0).cpu()
        self.counts[key] = self.counts.get(key, 0) + len(tokens)
        return output

    def mean(self, key: tuple[Layer, float]) -> Tensor:
        return self.sums[key] / self.counts[key]


def vectors_of(with_concept: Means, without: Means) -> Vectors:
    found: Vectors = {}
    for layer, sigma in with_concept.sums:
        one, other = with_concept.mean((layer, sigma)), without.mean((layer, sigma))
        vector = steering_vector(one[None, None], other[None, None])
        found.setdefault(layer, []).append((sigma, vector))
    return found


def fit(
    parts: Parts, shots: Sequence[Shot], others: Sequence[Shot], draw: Callable[[Any, Sequence[Shot]], Any]
) -> Vectors:
    """Vectors from pairs: shot i of both has the same noise. `draw` draws shots with a MODEL."""
    means = Means(), Means()
    for part, asked in zip(means, (shots, others), strict=True):
        model = parts[0].clone()
        model.set_model_attn2_output_patch(part.add)
        draw(model, asked)
    return vectors_of(*means)


def removal(vectors: Vectors, beta: float) -> Callable[[Tensor, dict[str, Any]], Tensor]:
    """The ``attn2_output_patch`` that removes; at noise levels between those of `vectors` the nearest one's counts."""

    @cache
    def vector_at(layer: Layer, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
        return min(vectors[layer], key=lambda known: abs(known[0] - sigma))[1].to(device, dtype)

    def patch(output: Tensor, options: dict[str, Any]) -> Tensor:
        rows = positive_rows(output, options)
        vector = vector_at(layer_of(options), sigma_of(options), torch.float32, output.device)
        edited = steered(output[rows].float(), vector, beta).to(output.dtype)
        if len(rows) == len(output):
            return edited
        result = output.clone()
        result[rows] = edited
        return result

    return patch


def casteer(key: dict[str, Any], vectors: Callable[[Parts], Vectors], beta: float) -> Edit:
    """`key` says what the vectors depend on, beside the model. With beta 0 the MODEL is left as it is."""

    def on(parts: Parts) -> Any:
        model = parts[0].clone()
        if beta:
            model.set_model_attn2_output_patch(removal(vectors(parts), beta))
        return model

    return Edit({"casteer": key, "beta": beta}, on)


def layer_of(options: dict[str, Any]) -> Layer:
    return options["block"], options["block_index"]


def sigma_of(options: dict[str, Any]) -> float:
    return float(options["sigmas"][0])


def positive_rows(tensor: Tensor, options: dict[str, Any]) -> list[int]:
    """The rows of a batch that are of the positive conditioning: the host puts chunks of one length into a batch."""
    chunks = options["cond_or_uncond"]
    each = len(tensor) // len(chunks)
    return [row for row in range(len(tensor)) if chunks[row // each] == 0]
