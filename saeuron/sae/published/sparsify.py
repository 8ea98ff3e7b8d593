"""sparsify (EleutherAI), and what was made with it: SAeUron (arXiv 2501.18052), SAEmnesia, G-SAE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import SaeuronError
from ...files import read_safetensors, write_atomically
from ..figures import SAEFigures
from ..metadata import FIELD, metadata_of
from ..model import SIGMOID, TOPK, SparseAutoencoder
from ..weights import (
    Placement,
    SAEWeights,
    expect_shape,
    place_of,
    positive,
    refuse_other_models,
    refuse_unknown,
    take,
)

# Options that leave what a code means as it is, whatever their value. ``batch_topk`` and ``sample_topk`` say how k was
# counted in training. SAeUron's own loader switches both off, so its published SAEs are plain TopK per token.
_OPTIONS = {
    "d_in",
    "num_latents",
    "expansion_factor",
    "k",
    "batch_topk",
    "sample_topk",
    "multi_topk",
    "normalize_decoder",
    "hookpoint",
    FIELD,
}


def read(config: Mapping[str, Any], file: Path) -> SAEWeights:
    """``z = W_e (x - b_dec) + b_e``; decode adds b_dec back. G-SAE's files are the same, and say nothing of sigmoid."""
    refuse_unknown(config, _OPTIONS, file)
    tensors, _ = read_safetensors(file)
    encoder, decoder_bias = take(tensors, "encoder.weight", file), take(tensors, "b_dec", file)
    d = positive(config.get("d_in", encoder.shape[1]), "d_in", file)
    n = config.get("num_latents") or d * positive(config.get("expansion_factor"), "expansion_factor", file)
    expect_shape(encoder, (positive(n, "num_latents", file), d), "encoder.weight", file)
    expect_shape(decoder_bias, (d,), "b_dec", file)
    said = str(config.get("hookpoint") or "")
    refuse_other_models(d, said, file)
    hookpoint, place = place_of(said, file)
    folded = take(tensors, "encoder.bias", file).double() - encoder.double() @ decoder_bias.double()
    return SAEWeights(
        encoder,
        folded.float(),
        take(tensors, "W_dec", file),
        decoder_bias,
        positive(config.get("k"), "k", file),
        Placement(hookpoint=hookpoint),
        file,
        choices=(SIGMOID,),
        place=place,
    )


def write(folder: Path, sae: SparseAutoencoder, placement: Placement, figures: SAEFigures | None = None) -> None:
    """Of `placement` the layout has a field for the hookpoint alone, which sparsify itself passes over.

    The encoder's bias is rounded to float32 before and after the pre-encoder bias is taken out of it.

    Errors: `SaeuronError` if the layout can't say what `sae` is.
    """
    from safetensors.torch import save

    if sae.activation != TOPK:
        raise SaeuronError(f"sparsify's layout holds TopK SAEs only; this one is {sae.activation}.")
    weights = {name: tensor.float().cpu() for name, tensor in sae.state_dict().items()}
    encoder, decoder_bias = weights["encoder.weight"], weights["decoder_bias"]
    unfolded = weights["encoder.bias"].double() + encoder.double() @ decoder_bias.double()
    state = {
        "encoder.weight": encoder,
        "encoder.bias": unfolded.float(),
        "W_dec": weights["decoder.weight"],
        "b_dec": decoder_bias,
    }
    config: dict[str, Any] = {"activation": "topk", "num_latents": sae.n, "k": sae.k, "d_in": sae.d}
    config |= {"normalize_decoder": False, FIELD: metadata_of(sae, placement, figures)}
    if placement.hookpoint:
        config["hookpoint"] = f"unet.{placement.hookpoint}"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "sae.safetensors", save({name: t.contiguous() for name, t in state.items()}))
    write_atomically(folder / "cfg.json", json.dumps(config).encode())
