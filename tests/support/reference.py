"""METHOD's formulas in plain float64, and random SAEs to try them on."""

from __future__ import annotations

import torch
from torch import Tensor

from saeuron.sae.model import SparseAutoencoder


def random_sae(d: int, n: int, k: int, seed: int) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    sae = SparseAutoencoder(d, n, k)
    sae.load_state_dict(
        {
            "encoder.weight": torch.randn(n, d, generator=generator) / d**0.5,
            "encoder.bias": torch.randn(n, generator=generator) * 0.1,
            "decoder.weight": torch.randn(n, d, generator=generator) / d**0.5,
            "decoder_bias": torch.randn(d, generator=generator) * 0.1,
        }
    )
    return sae.eval().requires_grad_(False)


def dense_codes(sae: SparseAutoencoder, x: Tensor) -> Tensor:
    """f [..., n] float64: z = W_e x + b_e, the k largest kept, relu."""
    z = x.double() @ sae.encoder.weight.double().T + sae.encoder.bias.double()
    kept = torch.zeros_like(z).scatter(-1, z.topk(sae.k, dim=-1).indices, 1.0)
    return (z * kept).clamp(min=0)


def dense_decode(sae: SparseAutoencoder, f: Tensor) -> Tensor:
    return f @ sae.decoder.weight.double() + sae.decoder_bias.double()
