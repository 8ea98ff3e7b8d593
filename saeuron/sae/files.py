"""Load and save SAEs. Every format gives the same thing: a `SparseAutoencoder` and its `SAEIdentity`.

Which hookpoint, kind and base model an SAE belongs to is in our own files; the published formats leave some of it out,
so `Placement` supplies it.
"""

from __future__ import annotations

from pathlib import Path
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SaeuronError
from ..files import format_safetensors, sha256_of, write_atomically
from .figures import SAEFigures
from .formats import VERSION, Placement, SAEWeights, expect_shape, read_weights
from .layouts import FORMAT
from .metadata import PLACE_FIELDS, metadata_of
from .model import JUMPRELU, KINDS, TOPK, SAEIdentity, SparseAutoencoder


class LoadedSAE(NamedTuple):
    sae: SparseAutoencoder
    identity: SAEIdentity
    figures: SAEFigures | None = None
    """What it had on the model that it was trained on, where the file says so."""
    assumed: tuple[str, ...] = ()
    """Fields of the identity that neither the file says nor a person has chosen."""
    remark: str = ""
    """What a person should know of how the files were read."""

    @property
    def placement(self) -> Placement:
        identity = self.identity
        return Placement(identity.base_model, identity.hookpoint, identity.kind, assumed=self.assumed)

    def note(self) -> str:
        """What a person should know of it; often empty."""
        values = " and ".join(f"{name.replace('_', ' ')} {getattr(self.identity, name)}" for name in self.assumed)
        assumed = f"Assumed, because the SAE's files do not say so: {values}. If it is another, choose that instead."
        return "\n".join(filter(None, (assumed if values else "", self.remark)))


def load_sae(
    path: Path,
    placement: Placement | None = None,
    operations: Any = nn,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> LoadedSAE:
    """Read an SAE from a safetensors file of ours, or a folder in one of the published layouts or the weights in it.

    `placement` says what the file does not, and goes before what is assumed; it may not contradict the file.
    Errors: `SaeuronError` for a missing, damaged, unsafe or unsupported file, saying which and what to do.
    """
    weights = read_weights(path)
    wanted = placement or Placement()
    identity = _identify(weights, wanted)
    n, d = weights.encoder_weight.shape
    activation = identity.activation
    sae = SparseAutoencoder(d, n, weights.k, operations=operations, dtype=dtype, device=device, activation=activation)
    state = {
        "encoder.weight": weights.encoder_weight,
        "encoder.bias": weights.encoder_bias,
        "decoder.weight": weights.decoder_weight,
        "decoder_bias": weights.decoder_bias,
    }
    if activation == JUMPRELU and weights.threshold is not None:
        state["threshold"] = weights.threshold
    sae.load_state_dict(state)
    assumed = _assumed(weights, wanted)
    return LoadedSAE(sae.eval().requires_grad_(False), identity, weights.figures, assumed, weights.remark)


def save_sae(
    path: Path,
    sae: SparseAutoencoder,
    placement: Placement,
    dtype: torch.dtype = torch.float32,
    figures: SAEFigures | None = None,
) -> None:
    """Write our single-file format; the pre-encoder bias, where there was one, is already in the encoder's bias.

    `figures`: what it had on the model that it was trained on. The same SAE gives the same bytes.
    """
    version = "1.0" if sae.activation == TOPK else VERSION
    metadata = {"format": FORMAT, "version": version} | metadata_of(sae, placement, figures)
    tensors = {name: tensor.to(dtype).contiguous().cpu() for name, tensor in sae.state_dict().items()}
    write_atomically(path, format_safetensors(tensors, metadata))


def _identify(weights: SAEWeights, wanted: Placement) -> SAEIdentity:
    n, d = weights.encoder_weight.shape if weights.encoder_weight.ndim == 2 else (0, 0)
    name = weights.file.name
    expect_shape(weights.encoder_weight, (n, d), "encoder weight", weights.file)
    expect_shape(weights.encoder_bias, (n,), "encoder bias", weights.file)
    expect_shape(weights.decoder_weight, (n, d), "decoder weight", weights.file)
    expect_shape(weights.decoder_bias, (d,), "decoder bias", weights.file)
    if not 0 < weights.k <= n:
        raise SaeuronError(f"{name} says k = {weights.k}, but it has {n} features.")
    for label, tensor in vars(weights).items():
        if isinstance(tensor, Tensor) and not torch.isfinite(tensor).all():
            raise SaeuronError(
                f"{name} has values that are not finite in its {label.replace('_', ' ')}; the file is damaged."
            )
    fields = {}
    for field in PLACE_FIELDS:
        recorded, given = getattr(weights.placement, field), getattr(wanted, field)
        said = recorded and field not in weights.placement.assumed
        if said and given and recorded != given:
            raise SaeuronError(f"{name} records {field} {recorded!r}, but {given!r} was chosen. Choose 'from file'.")
        fields[field] = given or recorded
        if not fields[field] and field == "hookpoint" and weights.place:
            raise SaeuronError(
                f"The SAE in {weights.file.parent.name!r} says that it belongs to {brief(weights.place)}, which is no "
                "transformer block of a UNet by a name that is known here. If it is one, choose it as hookpoint on the "
                "loader; of a layer within a block the codes would mean nothing."
            )
        if not fields[field]:
            raise SaeuronError(f"{name} does not say which {field} it belongs to. Choose it on the loader.")
    if fields["kind"] not in KINDS:
        raise SaeuronError(f"{name} has kind {fields['kind']!r}; expected one of {', '.join(KINDS)}.")
    return SAEIdentity(
        sha256=sha256_of(weights.file), d=d, n=n, k=weights.k, activation=_activation(weights, wanted), **fields
    )


def _assumed(weights: SAEWeights, wanted: Placement) -> tuple[str, ...]:
    return tuple(field for field in weights.placement.assumed if not getattr(wanted, field))


def _activation(weights: SAEWeights, wanted: Placement) -> str:
    if not wanted.activation or wanted.activation == weights.activation:
        return weights.activation
    if wanted.activation not in weights.choices:
        also = f" or {', '.join(weights.choices)}" if weights.choices else ""
        if wanted.activation == TOPK and weights.activation == JUMPRELU:
            also = ", trained without a number of features to keep (k)"
        raise SaeuronError(
            f"{weights.file.name} can't be read as {wanted.activation}: it is {weights.activation}{also}. Choose "
            "'from file'."
        )
    return wanted.activation
