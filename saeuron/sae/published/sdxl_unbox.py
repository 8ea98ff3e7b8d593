"""sdxl-unbox (Surkov et al., arXiv 2410.22366) and sdxl-turbo-saes: config.json and state_dict.pth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from ...errors import SaeuronError
from ...files import read_pickle, write_atomically
from ..figures import SAEFigures
from ..metadata import FIELD, metadata_of
from ..model import TOPK, SparseAutoencoder
from ..weights import (
    Placement,
    SAEWeights,
    expect_shape,
    hookpoint_in,
    positive,
    refuse_other_models,
    refuse_unknown,
    take,
)

# Options of the trainer that leave what a code means as it is, whatever their value.
_OPTIONS = {"n_dirs_local", "d_model", "k", "auxk", "auxk_coef", "dead_steps_threshold", FIELD}


def read(config: Mapping[str, Any], file: Path) -> SAEWeights:
    """``z = W_e (x - pre_bias) + latent_bias``; decode adds pre_bias back. mean.pt and std.pt are not used.

    The files say neither base model nor kind. Those that are published are of SDXL-Turbo's updates.
    """
    refuse_unknown(config, _OPTIONS, file)
    n = positive(config.get("n_dirs_local"), "n_dirs_local", file)
    state = read_pickle(file)
    tensors = state.get("state_dict", state)
    if not isinstance(tensors, Mapping):
        raise SaeuronError(f"{file.name} holds no state_dict.")
    encoder, pre_bias = take(tensors, "encoder.weight", file), take(tensors, "pre_bias", file)
    d = positive(config.get("d_model", pre_bias.numel()), "d_model", file)
    refuse_other_models(d, "", file)
    latent_bias, decoder = take(tensors, "latent_bias", file), take(tensors, "decoder.weight", file)
    expect_shape(encoder, (n, d), "encoder.weight", file)
    expect_shape(pre_bias, (d,), "pre_bias", file)
    folded = latent_bias.double() - encoder.double() @ pre_bias.double()
    return SAEWeights(
        encoder,
        folded.float(),
        decoder.T.contiguous(),
        pre_bias,
        positive(config.get("k"), "k", file),
        Placement("sdxl-turbo", hookpoint_in(file.parent), "update", assumed=("base_model", "kind")),
        file,
    )


def write(folder: Path, sae: SparseAutoencoder, placement: Placement, figures: SAEFigures | None = None) -> None:
    """The layout itself has no field for where `sae` belongs; name the folder after its hookpoint, as others do.

    The encoder's bias is rounded to float32 before and after the pre-encoder bias is taken out of it.

    Errors: `SaeuronError` if the layout can't say what `sae` is.
    """
    if sae.activation != TOPK:
        raise SaeuronError(f"sdxl-unbox's layout holds TopK SAEs only; this one is {sae.activation}.")
    weights = {name: tensor.float().cpu() for name, tensor in sae.state_dict().items()}
    encoder, pre_bias = weights["encoder.weight"], weights["decoder_bias"]
    unfolded = weights["encoder.bias"].double() + encoder.double() @ pre_bias.double()
    state = {
        "encoder.weight": encoder,
        "decoder.weight": weights["decoder.weight"].T.contiguous(),
        "pre_bias": pre_bias,
        "latent_bias": unfolded.float(),
        "stats_last_nonzero": torch.zeros(sae.n, dtype=torch.int64),
    }
    written = BytesIO()
    torch.save({"state_dict": state}, written)
    config: dict[str, Any] = {"n_dirs_local": sae.n, "d_model": sae.d, "k": sae.k}
    config |= {"auxk": None, "dead_steps_threshold": None, FIELD: metadata_of(sae, placement, figures)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "state_dict.pth", written.getvalue())
    write_atomically(folder / "config.json", json.dumps(config).encode())
