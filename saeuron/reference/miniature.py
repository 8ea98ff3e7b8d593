"""The miniature in diffusers' and transformers' classes, from the same weights as the host's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..miniature.architecture import IMAGE_SIZE, POOLED_PLUS_SIZES, TEXT_CONFIG, TEXT_WIDTH, UNET_CONFIG
from ..miniature.loading import load_weights
from ..miniature.tokenizer import load_tokenizer
from . import require_diffusers
from .layout import autoencoder_to_diffusers, text_to_transformers, unet_to_diffusers
from .models import DiffusersModel


def load_miniature(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> DiffusersModel:
    """Errors: `SaeuronError` if a package of the extra ``reference`` is not installed."""
    diffusers = require_diffusers()
    tokenizer = load_tokenizer()
    text = build_text_encoder().to(device, dtype)

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(prompts))], device=device)
        encoded = text(tokens)
        return encoded.last_hidden_state, encoded.text_embeds

    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    return DiffusersModel(
        unet=build_unet().to(device, dtype),
        vae=build_autoencoder().to(device),
        scheduler=scheduler,
        encode=encode,
        size=IMAGE_SIZE,
        schedule=lambda steps: sgm_uniform(scheduler, steps),
    )


def build_unet() -> Any:
    channels = tuple(UNET_CONFIG["model_channels"] * factor for factor in UNET_CONFIG["channel_mult"])
    unet = require_diffusers().UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=channels,
        cross_attention_dim=TEXT_WIDTH,
        # diffusers' name for the number of heads, kept for old checkpoints
        attention_head_dim=tuple(width // UNET_CONFIG["num_head_channels"] for width in channels),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=POOLED_PLUS_SIZES,
    )
    unet.load_state_dict(unet_to_diffusers(load_weights("unet")))
    return unet.eval().requires_grad_(False)


def build_autoencoder() -> Any:
    vae = require_diffusers().AutoencoderTiny(scaling_factor=1.0)
    vae.load_state_dict(autoencoder_to_diffusers(load_weights("autoencoder")))
    return vae.eval().requires_grad_(False)


def build_text_encoder() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    text = CLIPTextModelWithProjection(CLIPTextConfig(**TEXT_CONFIG))
    weights = text_to_transformers(load_weights("text"), text.state_dict())
    text.load_state_dict(weights)
    return text.eval().requires_grad_(False)


def sgm_uniform(scheduler: Any, steps: int) -> list[float]:
    """ComfyUI's schedule of that name: `steps` noise levels at evenly spaced times from the noisiest, and a final 0."""
    alphas = scheduler.alphas_cumprod.double()
    log_sigmas = ((1 - alphas) / alphas).sqrt().log().numpy()
    times = np.linspace(len(log_sigmas) - 1, 0, steps + 1)[:-1]
    return [*np.exp(np.interp(times, np.arange(len(log_sigmas)), log_sigmas)).tolist(), 0.0]
