"""dictionary_learning: config.json and ae.pt; what its classes compute is known by their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import torch

from ...errors import SaeuronError
from ...files import read_pickle
from ..base_models import base_model_denoted_by
from ..model import JUMPRELU, TOPK
from ..weights import Placement, SAEWeights, expect_shape, place_of, positive, refuse_other_models, take

# dict_class -> (activation, names of encoder weight and bias, decoder weight and bias, weights stored as [d, n]?)
_BY_LAYERS = ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec")
_BY_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
_CLASSES = {
    "AutoEncoder": (JUMPRELU, ("encoder.weight", "encoder.bias", "decoder.weight", "bias")),
    "AutoEncoderNew": (JUMPRELU, ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")),
    "AutoEncoderTopK": (TOPK, _BY_LAYERS),
    "BatchTopKSAE": (JUMPRELU, _BY_LAYERS),
    "MatryoshkaBatchTopKSAE": (JUMPRELU, _BY_MATRICES),
    "JumpReluAutoEncoder": (JUMPRELU, _BY_MATRICES),
}
_RELU = {"AutoEncoder", "AutoEncoderNew"}
"""Those without a threshold: they keep all that is above 0."""

_UNCENTRED = {"JumpReluAutoEncoder", "AutoEncoderNew"}
"""Those that do not subtract the decoder's bias before they encode."""

_REASONS = {"GatedAutoEncoder": " (its encoder has two sets of weights)"}


def read(config: Mapping[str, Any], file: Path) -> SAEWeights:
    """``z = W_e (x - b_dec) + b_e``, relu, then what is above the threshold; decode adds b_dec back.

    BatchTopK's k counts in a batch; a person may choose to have each token's k largest instead.
    """
    settings = config.get("trainer", config)
    name = settings.get("dict_class") if isinstance(settings, Mapping) else None
    if not isinstance(name, str) or name not in _CLASSES:
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} is dictionary_learning's {brief(name)}, which is not supported"
            f"{_REASONS.get(str(name), '')}; these are: {', '.join(_CLASSES)}."
        )
    activation, names = _CLASSES[name]
    tensors = read_pickle(file)
    encoder, bias, decoder, decoder_bias = (take(tensors, each, file) for each in names)
    d, n = (positive(settings.get(size), size, file) for size in ("activation_dim", "dict_size"))
    said = str(settings.get("submodule_name") or "")
    refuse_other_models(d, said, file)
    hookpoint, place = place_of(said, file)
    if names[0] == "W_enc":
        encoder = encoder.T
    else:
        decoder = decoder.T
    for tensor, shape, each in zip(
        (encoder, bias, decoder, decoder_bias), ((n, d), (n,), (n, d), (d,)), names, strict=True
    ):
        expect_shape(tensor, shape, each, file)
    bias = bias.double()
    if name not in _UNCENTRED or settings.get("apply_b_dec_to_input"):
        bias = bias - encoder.double() @ decoder_bias.double()
    threshold = None
    if activation == JUMPRELU:
        threshold = torch.zeros(n) if name in _RELU else take(tensors, "threshold", file).expand(n).clone()
    # Where the config leaves it out, their own loader takes it from the weights; those of other classes have none.
    k = settings.get("k", tensors.get("k"))
    if k is None and activation == TOPK:
        raise SaeuronError(
            f"The SAE in {file.parent.name!r} is {name}, but does not say how many features (k) it keeps."
        )
    return SAEWeights(
        encoder.contiguous(),
        bias.float(),
        decoder.contiguous(),
        decoder_bias,
        n if k is None else positive(k, "k", file),
        Placement(base_model_denoted_by(str(settings.get("lm_name") or "")), hookpoint),
        file,
        activation,
        threshold,
        (TOPK,) if k is not None and activation != TOPK else (),
        place,
    )
