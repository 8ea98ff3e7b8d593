"""MODELs of SD 1.5's and SDXL's shape as the host has them: every block, 32 channels wide, random weights."""

from __future__ import annotations

from typing import Any

import torch

CHANNELS = 32


def _config(**own: Any) -> dict[str, Any]:
    return {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": CHANNELS,
        "use_spatial_transformer": True, "legacy": False, "dtype": torch.float32, **own,
    }  # fmt: skip


def sd15() -> Any:
    """No pooled text, convolutions around the transformers, blocks with attention at three levels."""
    import comfy.model_base
    import comfy.supported_models

    config = _config(
        num_res_blocks=[2, 2, 2, 2], channel_mult=[1, 2, 4, 4], transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_middle=1, transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], context_dim=768,
        adm_in_channels=None, use_linear_in_transformer=False, num_heads=4, num_head_channels=-1,
    )  # fmt: skip
    return _model(comfy.model_base.BaseModel(comfy.supported_models.SD15(config), device=torch.device("cpu")))


def sdxl() -> Any:
    """Pooled text and sizes, linear projections, attention at two levels, one layer of it in each block."""
    import comfy.model_base
    import comfy.supported_models

    config = _config(
        num_res_blocks=[2, 2, 2], channel_mult=[1, 2, 4], transformer_depth=[0, 0, 1, 1, 1, 1],
        transformer_depth_middle=1, transformer_depth_output=[0, 0, 0, 1, 1, 1, 1, 1, 1], context_dim=2048,
        num_classes="sequential", adm_in_channels=2816, use_linear_in_transformer=True, num_heads=-1,
        num_head_channels=16,
    )  # fmt: skip
    return _model(comfy.model_base.SDXL(comfy.supported_models.SDXL(config), device=torch.device("cpu")))


def _model(base: Any) -> Any:
    import comfy.model_patcher

    generator = torch.Generator().manual_seed(0)
    for name, parameter in base.diffusion_model.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.data.fill_(float(name.endswith("weight")))
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu)


class WiderClip:
    """Another CLIP's texts, repeated until they are as wide as `model` reads them."""

    def __init__(self, clip: Any, model: Any) -> None:
        self._clip, self._width = clip, model.model.model_config.unet_config["context_dim"]
        self.patcher = clip.patcher

    def tokenize(self, text: str) -> Any:
        return self._clip.tokenize(text)

    def encode_from_tokens_scheduled(self, tokens: Any) -> list[list[Any]]:
        return [
            [_as_wide(text, self._width), {**options, "pooled_output": _as_wide(options["pooled_output"], 1280)}]
            for text, options in self._clip.encode_from_tokens_scheduled(tokens)
        ]


def _as_wide(text: torch.Tensor, width: int) -> torch.Tensor:
    return torch.cat([text] * -(-width // text.shape[-1]), -1)[..., :width]
