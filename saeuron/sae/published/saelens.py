"""SAELens 6: cfg.json and sae_weights.safetensors. BatchTopK and Matryoshka SAEs are saved as jumprelu there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import torch

from ...errors import SaeuronError
from ...files import read_safetensors, write_atomically
from ..base_models import base_model_denoted_by
from ..figures import SAEFigures
from ..metadata import FIELD, metadata_of
from ..model import JUMPRELU, SIGMOID, TOPK, SparseAutoencoder
from ..weights import Placement, SAEWeights, expect_shape, place_of, positive, refuse_other_models, take

_ARCHITECTURES = {"topk": TOPK, "jumprelu": JUMPRELU, "standard": JUMPRELU}
_REASONS = {
    "transcoder": " (it computes a layer's output in place of what it reads)",
    "gated": " (its encoder has two sets of weights)",
    "temporal": " (it reads a sequence of tokens)",
    "matching_pursuit": " (its features are chosen one after another)",
    "abstopk": " (its codes can be negative)",
}
"""What the name of an architecture says of why it is not read."""


def read(config: Mapping[str, Any], file: Path) -> SAEWeights:
    """``z = W_enc^T (x - b_dec if apply_b_dec_to_input) + b_enc``; with ``rescale_acts_by_decoder_norm`` codes count in
    lengths of their decoder rows, which is folded into the weights."""
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or architecture not in _ARCHITECTURES:
        reasons = (reason for kind, reason in _REASONS.items() if kind in str(architecture))
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} has SAELens' architecture {brief(architecture)}, which is not supported"
            f"{next(reasons, '')}; these are: {', '.join(_ARCHITECTURES)}."
        )
    if config.get("normalize_activations") not in (None, "none"):
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} was trained on activations that were normalised by "
            f"{brief(config['normalize_activations'])}, which is not supported. SAELens can fold that "
            "into the weights."
        )
    if config.get("reshape_activations") not in (None, "none"):
        raise SaeuronError(f"The SAE in {file.parent.name!r} reshapes activations, which is not supported.")
    if config.get("finetuning_scaling_factor"):
        raise SaeuronError(f"The SAE in {file.parent.name!r} scales codes after finetuning, which is not supported.")
    tensors, _ = read_safetensors(file)
    d, n = (positive(config.get(name), name, file) for name in ("d_in", "d_sae"))
    metadata = config.get("metadata")
    about = metadata if isinstance(metadata, Mapping) else {}
    hook = str(about.get("hook_name") or "")
    refuse_other_models(d, hook, file)
    hookpoint, place = place_of(hook, file)
    encoder, bias, decoder, decoder_bias = (take(tensors, name, file) for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
    for tensor, shape, name in (
        (encoder, (d, n), "W_enc"), (bias, (n,), "b_enc"), (decoder, (n, d), "W_dec"), (decoder_bias, (d,), "b_dec"),
    ):  # fmt: skip
        expect_shape(tensor, shape, name, file)
    encoder, bias, decoder = encoder.T.double(), bias.double(), decoder.double()
    if config.get("apply_b_dec_to_input", True):
        bias = bias - encoder @ decoder_bias.double()
    activation, threshold, k = _ARCHITECTURES[architecture], None, config.get("k")
    if activation == TOPK and not k:
        raise SaeuronError(f"The SAE in {file.parent.name!r} is topk, but does not say how many features (k) it keeps.")
    if activation == JUMPRELU:
        threshold = take(tensors, "threshold", file) if architecture == "jumprelu" else torch.zeros(n)
        expect_shape(threshold, (n,), "threshold", file)
    if config.get("rescale_acts_by_decoder_norm"):
        lengths = decoder.norm(dim=1)
        encoder, bias, decoder = encoder * lengths[:, None], bias * lengths, decoder / lengths[:, None]
    return SAEWeights(
        encoder.float().contiguous(),
        bias.float(),
        decoder.float(),
        decoder_bias,
        positive(k, "k", file) if k else n,
        Placement(base_model_denoted_by(str(about.get("model_name") or "")), hookpoint),
        file,
        activation,
        threshold,
        (TOPK,) if k and activation != TOPK else (),
        place,
    )


def write(folder: Path, sae: SparseAutoencoder, placement: Placement, figures: SAEFigures | None = None) -> None:
    """Base model and hookpoint of `placement` go into the metadata as SAELens calls them, and all of it as we do.

    Errors: `SaeuronError` if the layout can't say what `sae` is.
    """
    from safetensors.torch import save

    if sae.activation == SIGMOID:
        raise SaeuronError("SAELens' layout has no sigmoid SAEs.")
    weights = {name: tensor.float().cpu() for name, tensor in sae.state_dict().items()}
    state = {
        "W_enc": weights["encoder.weight"].T,
        "b_enc": weights["encoder.bias"],
        "W_dec": weights["decoder.weight"],
        "b_dec": weights["decoder_bias"],
    }
    config: dict[str, Any] = {
        "architecture": sae.activation,
        "d_in": sae.d,
        "d_sae": sae.n,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        # What else is here SAELens also keeps when it writes the SAE anew; elsewhere in the config it would not.
        "metadata": {
            "sae_lens_training_version": None,
            **_whereabouts(placement),
            FIELD: metadata_of(sae, placement, figures),
        },
    }
    if sae.activation == TOPK:
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    else:
        state["threshold"] = weights["threshold"]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "sae_weights.safetensors", save({name: t.contiguous() for name, t in state.items()}))
    write_atomically(folder / "cfg.json", json.dumps(config).encode())


def _whereabouts(placement: Placement) -> dict[str, str]:
    fields = {"hook_name": placement.hookpoint and f"unet.{placement.hookpoint}"}
    if "base_model" not in placement.assumed:
        fields["model_name"] = placement.base_model
    return {name: value for name, value in fields.items() if value}
