"""SDXL's UNet at its real size, with random weights."""

from __future__ import annotations

from typing import Any

import torch

SDXL_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "context_dim": 2048,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "legacy": False,
    "num_head_channels": 64,
    "dtype": torch.float32,
}


def sdxl_model() -> Any:
    """The host's MODEL, float32, 10 GB; the host must be importable."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    model = comfy.model_base.SDXL(comfy.supported_models.SDXL(SDXL_UNET), device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.diffusion_model.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.data.fill_(float(name.endswith("weight")))  # norms
    return comfy.model_patcher.ModelPatcher(model, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))
