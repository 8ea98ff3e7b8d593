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
