"""SAEs in others' layouts against what their own code computes, in float64; and written in them again."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from saeuron.errors import SaeuronError
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import Placement
from saeuron.sae.model import SparseAutoencoder
from tools.sae_files import write_dictionary_learning, write_saelens, write_sparsify, write_unbox

D, N, K = 8, 40, 5
PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")


def tokens(count: int = 64) -> Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(9))


def dense(sae: SparseAutoencoder, x: Tensor) -> Tensor:
    codes = sae.encode(x)
    return torch.zeros(*x.shape[:-1], sae.n).scatter_add(-1, codes.indices, codes.values).double()


def top(z: Tensor, k: int) -> Tensor:
    return z * torch.zeros_like(z).scatter(-1, z.topk(k).indices, 1.0)


def check(sae: SparseAutoencoder, codes: Tensor, reconstruction: Tensor) -> None:
    assert torch.allclose(dense(sae, tokens()), codes, atol=1e-5)
    assert torch.allclose(sae.decode(sae.encode(tokens())).double(), reconstruction, atol=1e-5)


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "standard"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("rescaled", [False, True])
def test_saelens(tmp_path, architecture: str, with_bias: bool, rescaled: bool) -> None:
    options = {"architecture": architecture, "apply_b_dec_to_input": with_bias}
    state = write_saelens(tmp_path / "sae", D, N, K, rescale_acts_by_decoder_norm=rescaled, **options)
    w = {name: value.double() for name, value in state.items()}
    x = tokens().double()
    z = (x - w["b_dec"] if with_bias else x) @ w["W_enc"] + w["b_enc"]
    lengths = w["W_dec"].norm(dim=1) if rescaled else torch.ones(N).double()
    z = z * lengths
    f = top(z.relu(), K) if architecture == "topk" else z.relu() * (z > w.get("threshold", torch.zeros(N).double()))
    loaded = load_sae(tmp_path / "sae", Placement("sdxl-turbo", "", "update"))
    assert loaded.identity.hookpoint == "up_blocks.0.attentions.1", "from metadata.hook_name"
    check(loaded.sae, f, (f / lengths) @ w["W_dec"] + w["b_dec"])


@pytest.mark.parametrize(
    "dict_class",
    [
        "AutoEncoder",
        "AutoEncoderNew",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
        "JumpReluAutoEncoder",
    ],
)
def test_dictionary_learning(tmp_path, dict_class: str) -> None:
    state = write_dictionary_learning(tmp_path / "sae", D, N, K, dict_class)
    w = {name: value.double() for name, value in state.items()}
    if "W_enc" in w:
        encoder, bias, decoder = w["W_enc"].T, w["b_enc"], w["W_dec"]
    else:
        encoder, bias, decoder = w["encoder.weight"], w["encoder.bias"], w["decoder.weight"].T
    offset = w.get("b_dec", w.get("bias", w.get("decoder.bias")))
    x = tokens().double()
    z = (x if dict_class in ("JumpReluAutoEncoder", "AutoEncoderNew") else x - offset) @ encoder.T + bias
    above = z.relu() * (z > w.get("threshold", torch.tensor(0.0)))
    f = top(z.relu(), K) if dict_class == "AutoEncoderTopK" else above
    loaded = load_sae(tmp_path / "sae", Placement("sdxl-turbo", "", "update"))
    assert loaded.identity.hookpoint == "up_blocks.0.attentions.1", "from submodule_name"
    check(loaded.sae, f, f @ decoder + offset)


def test_batchtopk_by_token_and_g_sae_by_choice(tmp_path) -> None:
    write_dictionary_learning(tmp_path / "batch", D, N, K)
    threshold = load_sae(tmp_path / "batch", PLACE)
    by_token = load_sae(tmp_path / "batch", Placement(*PLACE_FIELDS, "topk"))
    assert (threshold.identity.activation, by_token.identity.activation) == ("jumprelu", "topk")
    assert (dense(by_token.sae, tokens()) > 0).sum(-1).max() <= K < (dense(threshold.sae, tokens()) > 0).sum(-1).max()
    state = write_sparsify(tmp_path / "g", D, N, K)
    g = load_sae(tmp_path / "g", Placement(*PLACE_FIELDS, "sigmoid"))
    w = {name: value.double() for name, value in state.items()}
    z = (tokens().double() - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]
    f = z.sigmoid() * torch.zeros_like(z).scatter(-1, z.topk(K).indices, 1.0)
    check(g.sae, f, f @ w["W_dec"] + w["b_dec"])
    write_unbox(tmp_path / "unbox", D, N, K)
    with pytest.raises(SaeuronError, match=r"can't be read as sigmoid: it is topk\. Choose 'from file'"):
        load_sae(tmp_path / "unbox", Placement(*PLACE_FIELDS, "sigmoid"))


PLACE_FIELDS = ("sdxl-turbo", "up_blocks.0.attentions.1", "update")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "gated"}, "architecture 'gated', which is not supported .*two sets of weights"),
        ({"architecture": "jumprelu_skip_transcoder"}, "in place of what it reads"),
        ({"finetuning_scaling_factor": True}, "after finetuning"),
        ({"metadata": {"hook_name": "blocks.8.hook_resid_pre"}}, "text encoder or a language model"),
        ({"architecture": None}, "architecture None"),
        ({"architecture": ["topk"]}, "architecture"),
        ({"normalize_activations": "layer_norm"}, "normalised by 'layer_norm'"),
        ({"reshape_activations": "hook_z"}, "reshapes activations"),
        ({"d_sae": N + 1}, "W_enc has shape"),
    ],
)
def test_saelens_files_that_mean_something_else_are_refused(tmp_path, options, said: str) -> None:
    write_saelens(tmp_path / "sae", D, N, K, **options)
    with pytest.raises(SaeuronError, match=said):
        load_sae(tmp_path / "sae", PLACE)


def test_dictionary_learning_classes_that_are_not_known_are_refused(tmp_path) -> None:
    write_dictionary_learning(tmp_path / "sae", D, N, K)
    config = tmp_path / "sae" / "config.json"
    config.write_text(config.read_text().replace("BatchTopKSAE", "GatedAutoEncoder"))
    with pytest.raises(SaeuronError, match=r"'GatedAutoEncoder', which is not supported .*two sets of weights"):
        load_sae(tmp_path / "sae", PLACE)
    config.write_text(json.dumps({"trainer": 3}))
    with pytest.raises(SaeuronError, match="dictionary_learning's None"):
        load_sae(tmp_path / "sae", PLACE)


def without_k(folder) -> None:
    """As most JumpReLU and ReLU SAEs are; dictionary_learning's weights may have it, too."""
    for config in folder.glob("*.json"):
        settings = json.loads(config.read_text())
        (settings.get("trainer") or settings).pop("k")
        config.write_text(json.dumps(settings))
    for weights in folder.glob("ae.pt"):
        state = torch.load(weights, weights_only=True)
        state.pop("k", None)
        torch.save(state, weights)


@pytest.mark.parametrize("architecture", ["jumprelu", "standard", "JumpReluAutoEncoder", "AutoEncoder", "BatchTopKSAE"])
def test_without_k_any_number_of_features_may_be_active(tmp_path, architecture: str) -> None:
    if architecture[0].islower():
        write_saelens(tmp_path / "sae", D, N, K, architecture=architecture)
    else:
        write_dictionary_learning(tmp_path / "sae", D, N, K, architecture)
    with_k = load_sae(tmp_path / "sae", PLACE)
    without_k(tmp_path / "sae")
    loaded = load_sae(tmp_path / "sae", PLACE)
    assert loaded.identity.k == N and ", k " in with_k.identity.describe() and ", k " not in loaded.identity.describe()
    assert torch.equal(dense(loaded.sae, tokens()), dense(with_k.sae, tokens()))
    with pytest.raises(
        SaeuronError, match=r"read as topk: it is jumprelu, trained without a number of features to keep"
    ):
        load_sae(tmp_path / "sae", Placement(*PLACE_FIELDS, "topk"))
    save_sae(tmp_path / "own.safetensors", loaded.sae, PLACE)
    assert load_sae(tmp_path / "own.safetensors").identity.k == N
    with pytest.raises(SaeuronError, match="without a number"):
        load_sae(tmp_path / "own.safetensors", Placement(activation="topk"))


def test_topk_without_k_is_refused(tmp_path) -> None:
    write_saelens(tmp_path / "lens", D, N, K)
    write_dictionary_learning(tmp_path / "dictionary", D, N, K, "AutoEncoderTopK")
    for name in ("lens", "dictionary"):
        without_k(tmp_path / name)
        with pytest.raises(SaeuronError, match=r"does not say how many features \(k\) it keeps"):
            load_sae(tmp_path / name, PLACE)


def test_dictionary_learning_has_k_in_its_weights_too(tmp_path) -> None:
    write_dictionary_learning(tmp_path / "sae", D, N, K)
    config = tmp_path / "sae" / "config.json"
    settings = json.loads(config.read_text())
    del settings["trainer"]["k"]
    config.write_text(json.dumps(settings))
    assert load_sae(tmp_path / "sae", Placement(*PLACE_FIELDS, "topk")).identity.k == K


def test_a_class_that_is_no_name_is_refused(tmp_path) -> None:
    write_dictionary_learning(tmp_path / "sae", D, N, K)
    (tmp_path / "sae" / "config.json").write_text(json.dumps({"trainer": {"dict_class": ["BatchTopKSAE"]}}))
    with pytest.raises(SaeuronError, match="which is not supported"):
        load_sae(tmp_path / "sae", PLACE)


@pytest.mark.parametrize("write", [write_unbox, write_sparsify, write_saelens, write_dictionary_learning])
def test_saes_of_text_encoders_are_refused_in_every_layout(tmp_path, write) -> None:
    folder = tmp_path / "text_model.encoder.layers.8"
    write(folder, D, N, K)
    with pytest.raises(SaeuronError, match="text encoder or a language model"):
        load_sae(folder, PLACE)


@pytest.mark.parametrize(
    ("d", "place"), [(3072, "unet"), (D, "transformer.single_transformer_blocks.9"), (3072, "transformer_blocks.5")]
)
def test_saes_of_flux_are_refused_in_every_layout(tmp_path, d: int, place: str) -> None:
    for write in (write_unbox, write_sparsify, write_saelens, write_dictionary_learning):
        folder = tmp_path / write.__name__ / place
        options = {write_saelens: {"metadata": {}}, write_sparsify: {"num_latents": 4}}.get(write, {})
        write(folder, d, 4, 2, **options)
        for config in folder.glob("config.json"):
            config.write_text(config.read_text().replace("up_blocks.0.attentions.1", place))
        with pytest.raises(SaeuronError, match="one of FLUX, whose models have no UNet"):
            load_sae(folder, PLACE)


def test_saelens_subtracts_the_decoder_s_bias_unless_told_not_to(tmp_path) -> None:
    write_saelens(tmp_path / "told", D, N, K, apply_b_dec_to_input=True)
    write_saelens(tmp_path / "untold", D, N, K, apply_b_dec_to_input=True)
    config = json.loads((tmp_path / "untold" / "cfg.json").read_text())
    del config["apply_b_dec_to_input"]
    (tmp_path / "untold" / "cfg.json").write_text(json.dumps(config))
    told, untold = (load_sae(tmp_path / name, PLACE).sae for name in ("told", "untold"))
    assert torch.equal(told.encoder.bias, untold.encoder.bias)
