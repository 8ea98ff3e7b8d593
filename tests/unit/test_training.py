"""SAE training on planted data: sparse combinations of known directions are found again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.training.topk import TopKTraining, train_topk


def planted(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [count, 16] that are positive sums of 2 of 24 directions, off centre and in a scale of their own."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(24, 16, generator=generator), dim=1)
    which = torch.rand(count, 24, generator=generator).topk(2).indices
    strengths = 1 + torch.rand(count, 2, generator=generator)
    f = torch.zeros(count, 24).scatter(1, which, strengths)
    return f @ directions * 7 + 3, directions


SETTINGS = TopKTraining(n=48, k=2, steps=600, batch=512, rate=3e-3, dead_after=5000, seed=1)


def test_planted_directions_are_found():
    tokens, directions = planted(8000)
    sae, report = train_topk(tokens, SETTINGS)
    assert report.fvu < 0.1
    found = torch.nn.functional.normalize(sae.decoder.weight, dim=1)
    best = (directions @ found.T).max(1).values
    assert best.median() > 0.95
    assert (sae.d, sae.n, sae.k) == (16, 48, 2)


def test_the_same_seed_gives_the_same_sae():
    tokens, _ = planted(2000)
    short = TopKTraining(n=48, k=2, steps=20, batch=256, seed=4)
    first, second = (train_topk(tokens, short)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_unusable_tokens_are_refused():
    tokens, _ = planted(1000)
    with pytest.raises(SaeuronError, match="fewer than one batch"):
        train_topk(tokens[:100], SETTINGS)
    tokens[3, 3] = float("inf")
    with pytest.raises(SaeuronError, match="not finite"):
        train_topk(tokens, SETTINGS)


def test_the_unit_scales_codes_and_changes_no_reconstruction():
    tokens, _ = planted(2000)
    short = TopKTraining(n=48, k=2, steps=20, batch=256, seed=4)
    plain, fine = (train_topk(tokens, replace(short, unit=unit))[0] for unit in (1.0, 0.25))
    assert torch.allclose(fine.decode(fine.encode(tokens)), plain.decode(plain.encode(tokens)), atol=1e-4)
    assert torch.allclose(fine.encode(tokens).values, plain.encode(tokens).values * 4, rtol=1e-4, atol=1e-4)
