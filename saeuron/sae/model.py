"""Sparse autoencoders, read sparsely: a code is a few (value, index) pairs, never n numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SaeuronError

KINDS = ("update", "output")
TOPK, JUMPRELU, SIGMOID = ACTIVATIONS = ("topk", "jumprelu", "sigmoid")
"""What makes codes of the encoder's ``z = W_e x + b_e``:

- ``topk``: relu of the k largest (Gao et al., arXiv 2406.04093).
- ``jumprelu``: relu(z) where z is above a threshold for each feature, else 0 (Rajamanoharan et al., arXiv 2407.14435).
  A token has as many active features as are above it. BatchTopK SAEs (Bussmann et al., arXiv 2412.06410) are kept so,
  with one threshold for all features; ReLU SAEs are the case of threshold 0.
- ``sigmoid``: sigmoid of the k largest (G-SAE).
"""


AT_ONCE = 1 << 27
"""Numbers of an intermediate result: half a GiB, which tokens with hundreds of active features would soon exceed."""


@dataclass(frozen=True)
class SAEIdentity:
    """What an SAE is and where it belongs; feature indices mean nothing without it.

    ``kind`` says what is read at the hookpoint: ``update`` (block output - block input) or ``output``.
    ``sha256`` is that of the weights file; an empty string means "not recorded".
    """

    sha256: str
    base_model: str
    hookpoint: str
    kind: str
    d: int
    n: int
    k: int
    """n for a ``jumprelu`` SAE that was trained without one, of which any number of features may be active."""
    activation: str = TOPK
    """One of `ACTIVATIONS`; codes of another one are other codes."""

    def describe(self) -> str:
        weights = self.sha256[:12] or "not recorded"
        how = "" if self.activation == TOPK else f"{self.activation}, "
        k = "" if self.activation == JUMPRELU and self.k == self.n else f"k {self.k}, "
        return (
            f"{self.base_model or 'unknown base model'} at {self.hookpoint or 'unknown hookpoint'} "
            f"({self.kind or 'unknown kind'}, {how}d {self.d}, n {self.n}, {k}weights {weights})"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values; ``activation`` is left out where it is ``topk``, as in files from before there were others."""
        fields = asdict(self)
        return {name: value for name, value in fields.items() if (name, value) != ("activation", TOPK)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SAEIdentity:
        """Errors: `SaeuronError` for missing fields or wrong types."""
        values: dict[str, Any] = {}
        for name, kind in _IDENTITY_FIELDS.items():
            value = fields.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise SaeuronError(f"SAE identity: {name!r} must be of type {kind.__name__}, found {value!r}.")
            values[name] = value
        values["activation"] = fields.get("activation", TOPK)
        if values["activation"] not in ACTIVATIONS:
            raise SaeuronError(
                f"SAE identity: activation must be one of {', '.join(ACTIVATIONS)}, found {values['activation']!r}."
            )
        if min(values["d"], values["n"], values["k"]) < 1 or values["k"] > values["n"]:
            raise SaeuronError(
                f"SAE identity: sizes make no sense (d {values['d']}, n {values['n']}, k {values['k']}); "
                "all must be positive and k at most n."
            )
        if values["kind"] not in (*KINDS, ""):
            raise SaeuronError(f"SAE identity: kind must be one of {', '.join(KINDS)}, found {values['kind']!r}.")
        return cls(**values)


_IDENTITY_FIELDS = {"sha256": str, "base_model": str, "hookpoint": str, "kind": str, "d": int, "n": int, "k": int}


def read_tokens(kind: str, block_input: Tensor, block_output: Tensor) -> Tensor:
    """What an SAE of `kind` reads at a block, float32 [..., d], from the block's input and output, channels last."""
    x = block_output.float()
    return x - block_input.float() if kind == "update" else x


class SparseCodes(NamedTuple):
    """The SAE codes of some tokens."""

    values: Tensor
    """[..., k] float32, not negative, in no particular order; 0 where fewer than k features are active.

    k is the SAE's, or with the activation ``jumprelu`` the most that are active on any of these tokens, at least 1.
    """

    indices: Tensor
    """[..., k] int64, the features that `values` belong to."""

    def of(self, features: Tensor) -> Tensor:
        """Codes [..., m] of `features` [m]; 0 where a feature is not among the k kept."""
        if not len(features):
            return self.values.new_zeros(*self.values.shape[:-1], 0)
        # Looked up and scattered, as comparing every code with every feature would cost k times as much.
        ordered = features.sort().values
        place = torch.searchsorted(ordered, self.indices).clamp(max=len(ordered) - 1)  # [..., k]
        values = torch.where(ordered[place] == self.indices, self.values, 0)
        found = values.new_zeros(*values.shape[:-1], len(ordered)).scatter_add(-1, place, values)
        return found[..., torch.searchsorted(ordered, features)]


class SparseAutoencoder(nn.Module):
    """``z = W_e x + b_e``, of which ``activation``, one of `ACTIVATIONS`, makes codes; ``x_hat = f W_d + b_d``.

    A bias subtracted before encoding is folded into ``b_e`` when a file is read, so one code path serves every format.
    Keeping k then relu and relu then keeping k give the same nonzero values.

    ``operations`` supplies the layer classes: `torch.nn`, or the host's, which cast and offload.
    The layers are not usable before weights are loaded: the host's skip initialisation.
    """

    def __init__(
        self,
        d: int,
        n: int,
        k: int,
        operations: Any = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        activation: str = TOPK,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise SaeuronError(f"Unknown activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}.")
        if not 0 < k <= n:
            raise SaeuronError(f"An SAE keeps between 1 and n features per token; found k {k}, n {n}.")
        self.d, self.n, self.k, self.activation = d, n, k, activation
        self.encoder = operations.Linear(d, n, dtype=dtype, device=device)
        # An embedding, because the decoder is only ever read by rows, and the host can offload it like any layer.
        self.decoder = operations.Embedding(n, d, dtype=dtype, device=device)
        # Raw on purpose: d numbers, moved on use. The host leaves raw parameters where they are.
        self.decoder_bias = nn.Parameter(torch.empty(d, dtype=dtype, device=device), requires_grad=False)
        if activation == JUMPRELU:
            self.threshold = nn.Parameter(torch.empty(n, dtype=dtype, device=device), requires_grad=False)

    def encode(self, x: Tensor) -> SparseCodes:
        """Tokens [..., d] of any float dtype -> codes; computed in float32."""
        if x.shape[-1] != self.d:
            raise SaeuronError(f"This SAE reads tokens of width {self.d}, found {x.shape[-1]}.")
        z = self.encoder(x.float())
        if self.activation == JUMPRELU:
            active = torch.where(z > self.threshold.to(z), z.relu(), 0.0)
            most = int((active > 0).sum(-1).max()) if active.numel() else 1
            return SparseCodes(*active.topk(max(1, most), dim=-1, sorted=False))
        values, indices = z.topk(self.k, dim=-1, sorted=False)
        return SparseCodes(values.sigmoid() if self.activation == SIGMOID else values.relu(), indices)

    def at_most(self, z: Tensor) -> Tensor:
        """What codes the encoder's `z` could give: no code above 0 is above this, elementwise."""
        return z.sigmoid() if self.activation == SIGMOID else z

    def encoder_rows(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder directions [m, d] and biases [m] of `features` [m], float32, on the features' device."""
        stored = features.to(self.encoder.weight.device)  # where the host has offloaded them to
        weight, bias = self.encoder.weight[stored], self.encoder.bias[stored]
        return weight.to(features.device, torch.float32), bias.to(features.device, torch.float32)

    def decoder_rows(self, indices: Tensor) -> Tensor:
        """Decoder directions [..., d], float32, of feature indices [...]."""
        rows: Tensor = self.decoder(indices)
        return rows.float()

    def decode(self, codes: SparseCodes) -> Tensor:
        """Codes -> reconstructed tokens [..., d], float32."""
        k = codes.values.shape[-1]
        parts = zip(*(part.flatten(0, -2).split(max(1, AT_ONCE // (k * self.d))) for part in codes), strict=True)
        decoded = [torch.einsum("tk,tkd->td", values, self.decoder_rows(indices)) for values, indices in parts]
        tokens: Tensor = torch.cat(decoded).unflatten(0, codes.values.shape[:-1])
        return tokens + self.decoder_bias.to(tokens)
