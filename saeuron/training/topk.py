"""Train a TopK SAE with an auxiliary loss that revives dead features (Gao et al., arXiv 2406.04093)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SaeuronError
from ..sae.model import SparseAutoencoder


@dataclass(frozen=True)
class TopKTraining:
    """`dead_after` is counted in tokens; a feature that fires on none of so many counts as dead."""

    n: int
    k: int
    steps: int = 3000
    batch: int = 2048
    rate: float = 1e-3
    aux_k: int = 64
    aux_weight: float = 1 / 32
    dead_after: int = 200_000
    unit: float = 1.0
    """Of the codes, in root mean square coordinates of the centred tokens. It changes no reconstruction, but gamma * mu
    is as large as mu is, so it is chosen for convenient multipliers."""

    seed: int = 0


@dataclass(frozen=True)
class TrainingReport:
    fvu: float
    """Fraction of variance that the reconstruction leaves unexplained, on the tokens given."""

    dead: float
    """Share of features that never fired on them."""


def train_topk(
    tokens: Tensor, settings: TopKTraining, progress: Callable[[int, float], None] | None = None
) -> tuple[SparseAutoencoder, TrainingReport]:
    """Fit an SAE to `tokens` [count, d], where they are; the SAE that comes back is on the CPU.

    Errors: `SaeuronError` for tokens that are not finite, or fewer than a batch.
    """
    if len(tokens) < settings.batch:
        raise SaeuronError(f"{len(tokens)} tokens are fewer than one batch of {settings.batch}.")
    if not torch.isfinite(tokens).all():
        raise SaeuronError("The tokens hold values that are not finite.")
    count, d = tokens.shape
    device = tokens.device
    generator = torch.Generator(device).manual_seed(settings.seed)
    bias = tokens.float().mean(0)
    scale = (tokens.float() - bias).square().mean().sqrt()
    decoder = F.normalize(torch.randn(settings.n, d, generator=generator, device=device), dim=1)
    encoder = decoder.clone()  # encoder begins as the decoder's transpose: few features are born dead
    parameters = {
        "encoder": encoder.requires_grad_(),
        "encoder_bias": torch.zeros(settings.n, device=device, requires_grad=True),
        "decoder": decoder.requires_grad_(),
        "decoder_bias": torch.zeros(d, device=device, requires_grad=True),
    }
    optimizer = torch.optim.Adam(list(parameters.values()), lr=settings.rate, betas=(0.9, 0.99))
    silent_for = torch.zeros(settings.n, dtype=torch.int64, device=device)
    for step in range(settings.steps):
        index = torch.randint(count, (settings.batch,), generator=generator, device=device)
        x = (tokens[index].float() - bias) / scale
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * _rate_factor(step, settings.steps)
        pre = F.linear(x - parameters["decoder_bias"], parameters["encoder"], parameters["encoder_bias"])
        output, active = _decode_top(pre, settings.k, parameters["decoder"])
        error = x - output - parameters["decoder_bias"]
        loss = error.square().mean() / x.var(0).mean()
        dead = silent_for > settings.dead_after
        if dead.any():
            aux, _ = _decode_top(
                pre.masked_fill(~dead, -torch.inf), min(settings.aux_k, int(dead.sum())), parameters["decoder"]
            )
            auxiliary = (error.detach() - aux).square().mean() / error.detach().square().mean()
            loss = loss + settings.aux_weight * auxiliary.nan_to_num(0.0)
        optimizer.zero_grad()
        loss.backward()
        _remove_parallel_gradient(parameters["decoder"])
        optimizer.step()
        with torch.no_grad():
            parameters["decoder"].copy_(F.normalize(parameters["decoder"], dim=1))
            silent_for += len(x)
            silent_for[active] = 0
        if progress is not None:
            progress(step, float(loss))
    sae = _assemble({name: p.detach() for name, p in parameters.items()}, settings, bias, scale).to(device)
    report = evaluate(sae, tokens)
    return sae.cpu(), report


@torch.no_grad()
def evaluate(sae: SparseAutoencoder, tokens: Tensor) -> TrainingReport:
    fired = torch.zeros(sae.n, dtype=torch.bool, device=tokens.device)
    error = torch.zeros((), dtype=torch.float64, device=tokens.device)
    mean = tokens.double().mean(0)
    variance = torch.zeros((), dtype=torch.float64, device=tokens.device)
    for part in tokens.split(8192):
        codes = sae.encode(part)
        error += (part.double() - sae.decode(codes).double()).square().sum()
        variance += (part.double() - mean).square().sum()
        fired[codes.indices[codes.values > 0]] = True
    return TrainingReport(float(error / variance), float((~fired).double().mean()))


def _decode_top(pre: Tensor, k: int, decoder: Tensor) -> tuple[Tensor, Tensor]:
    values, indices = pre.topk(k, dim=-1, sorted=False)
    values = values.relu()
    dense = torch.zeros_like(pre).scatter(-1, indices, values)
    return dense @ decoder, indices[values > 0]


def _remove_parallel_gradient(decoder: Tensor) -> None:
    """Directions keep unit norm, so only the gradient across them counts."""
    assert decoder.grad is not None
    parallel = (decoder.grad * decoder.detach()).sum(1, keepdim=True)
    decoder.grad -= parallel * decoder.detach()


def _rate_factor(step: int, steps: int) -> float:
    warmup = min(100, steps // 10 + 1)
    return min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)


def _assemble(parameters: dict[str, Tensor], settings: TopKTraining, bias: Tensor, scale: Tensor) -> SparseAutoencoder:
    """Fold the normalisation, the unit and the pre-encoder bias into the weights."""
    n, d = parameters["decoder"].shape
    sae = SparseAutoencoder(d, n, settings.k)
    offset = bias + scale * parameters["decoder_bias"]
    weight = parameters["encoder"] / (scale * settings.unit)
    sae.load_state_dict(
        {
            "encoder.weight": weight,
            "encoder.bias": parameters["encoder_bias"] / settings.unit - weight @ offset,
            "decoder.weight": parameters["decoder"] * scale * settings.unit,
            "decoder_bias": offset,
        }
    )
    return sae.eval().requires_grad_(False)
