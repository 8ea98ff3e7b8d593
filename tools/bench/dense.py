"""The edit as published code does it, from METHOD's formulas: every code as n numbers, everything decoded twice.

For comparison in the benchmark only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saeuron.edits.intervention import FeatureEdit
from saeuron.sae.model import SparseAutoencoder


def dense_codes(sae: SparseAutoencoder, x: Tensor) -> Tensor:
    """f float32 [..., n] of tokens [..., d]."""
    kept = sae.encoder(x).topk(sae.k, dim=-1)
    return torch.zeros(*x.shape[:-1], sae.n).scatter_(-1, kept.indices, kept.values.relu())


def edit_exact(sae: SparseAutoencoder, edit: FeatureEdit, x: Tensor, output: Tensor) -> Tensor:
    """``out + decode(f_edited) - decode(f)``, both dense: the arithmetic of mode exact without any of its savings."""
    f = dense_codes(sae, x)
    factors, thresholds = torch.ones(sae.n), torch.full((sae.n,), float("inf"))
    factors[edit.features], thresholds[edit.features] = edit.factors, edit.thresholds
    edited = torch.where(f > thresholds, factors * f, f)
    decoder = sae.decoder.weight
    return output + (edited @ decoder + sae.decoder_bias) - (f @ decoder + sae.decoder_bias)
