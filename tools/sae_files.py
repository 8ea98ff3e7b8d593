"""SAE files in the published layouts, with random weights, for tests and benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def write_unbox(folder: Path, d: int, n: int, k: int, with_moments: bool = True) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(1)
    state = {
        "encoder.weight": torch.randn(n, d, generator=generator) / d**0.5,
        "decoder.weight": torch.randn(d, n, generator=generator) / d**0.5,
        "pre_bias": torch.randn(d, generator=generator),
        "latent_bias": torch.randn(n, generator=generator) * 0.1,
        "stats_last_nonzero": torch.zeros(n, dtype=torch.int64),
    }
    torch.save({"state_dict": state}, folder / "state_dict.pth")
    config = {"n_dirs_local": n, "d_model": d, "k": k, "auxk": 256, "dead_steps_threshold": 1000}
    (folder / "config.json").write_text(json.dumps(config))
    if with_moments:
        torch.save(torch.zeros(n), folder / "mean.pt")
        torch.save(torch.ones(n), folder / "std.pt")
    return state


def write_sparsify(folder: Path, d: int, n: int, k: int, **options: object) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(2)
    state = {
        "encoder.weight": torch.randn(n, d, generator=generator) / d**0.5,
        "encoder.bias": torch.randn(n, generator=generator) * 0.1,
        "W_dec": torch.randn(n, d, generator=generator) / d**0.5,
        "b_dec": torch.randn(d, generator=generator),
    }
    save_file(state, folder / "sae.safetensors")
    config = {
        "expansion_factor": n // d,
        "num_latents": 0,
        "k": k,
        "batch_topk": False,
        "sample_topk": False,
        "input_unit_norm": False,
        "multi_topk": False,
        "normalize_decoder": True,
        "d_in": d,
    }
    (folder / "cfg.json").write_text(json.dumps({**config, **options}))
    return state


def write_saelens(folder: Path, d: int, n: int, k: int, **options: object) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(3)
    state = {
        "W_enc": torch.randn(d, n, generator=generator) / d**0.5,
        "b_enc": torch.randn(n, generator=generator) * 0.1,
        "W_dec": torch.randn(n, d, generator=generator) / d**0.5,
        "b_dec": torch.randn(d, generator=generator),
    }
    config = {
        "architecture": "topk", "k": k, "d_in": d, "d_sae": n, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": True, "metadata": {"hook_name": "unet.up_blocks.0.attentions.1"},
    } | options  # fmt: skip
    if config["architecture"] == "jumprelu":
        state["threshold"] = torch.rand(n, generator=generator)
    save_file(state, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return state


def write_dictionary_learning(
    folder: Path, d: int, n: int, k: int, dict_class: str = "BatchTopKSAE"
) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(4)
    encoder, decoder = (torch.randn(n, d, generator=generator) / d**0.5 for _ in range(2))
    bias, decoder_bias = torch.randn(n, generator=generator) * 0.1, torch.randn(d, generator=generator)
    if dict_class in ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"):
        state = {"W_enc": encoder.T.contiguous(), "b_enc": bias, "W_dec": decoder, "b_dec": decoder_bias}
    else:
        last = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(dict_class, "b_dec")
        state = {
            "encoder.weight": encoder,
            "encoder.bias": bias,
            "decoder.weight": decoder.T.contiguous(),
            last: decoder_bias,
        }
    if dict_class == "JumpReluAutoEncoder":
        state["threshold"] = torch.rand(n, generator=generator)
    elif dict_class not in ("AutoEncoder", "AutoEncoderNew"):
        state |= {"k": torch.tensor(k), "threshold": torch.tensor(0.3)}
    if dict_class == "MatryoshkaBatchTopKSAE":
        state["group_sizes"] = torch.tensor([n // 2, n - n // 2])
    torch.save(state, folder / "ae.pt")
    trainer = {"dict_class": dict_class, "activation_dim": d, "dict_size": n, "k": k}
    trainer["submodule_name"] = "up_blocks.0.attentions.1"
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    return state
