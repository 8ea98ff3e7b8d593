"""Codes and statistics of a small made-up SAE."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from saeuron.features.statistics import ActivationStatistics
from saeuron.sae.model import SAEIdentity, SparseCodes

N, K = 7, 3
SAE = SAEIdentity("ab" * 32, "sdxl-turbo", "up_blocks.0.attentions.1", "update", d=4, n=N, k=K)
SIGMAS = (14.6, 3.0, 0.5)
TENSORS = ("total", "tokens", "fired_tokens", "fired_images", "images")


def collect(
    parts: Sequence[tuple[float, SparseCodes] | tuple[float, SparseCodes, Sequence[str]]],
) -> ActivationStatistics:
    statistics = ActivationStatistics(SAE, SIGMAS)
    for part in parts:
        statistics.add(*part)
    return statistics


def codes_of(*images: list[dict[int, float]]) -> SparseCodes:
    """One list of tokens per image, each token {feature: activation}; padded with zeros as a top-k would be."""
    values, indices = [], []
    for image in images:
        for token in image:
            unused = [index for index in range(N) if index not in token][: K - len(token)]
            values.append([*token.values(), *[0.0] * len(unused)])
            indices.append([*token, *unused])
    shape = (len(images), -1, K)
    return SparseCodes(torch.tensor(values).view(shape), torch.tensor(indices).view(shape))


def assert_same(a: ActivationStatistics, b: ActivationStatistics) -> None:
    for name in TENSORS:
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    kept, others = a.pictures.tensors(), b.pictures.tensors()
    assert kept.keys() == others.keys()
    for name, tensor in kept.items():
        assert tensor.dtype == others[name].dtype and torch.equal(tensor, others[name]), name
