"""The miniature as the host's MODEL, CLIP and VAE, built from the host's own classes."""

from __future__ import annotations

from typing import Any, ClassVar

import comfy.clip_model
import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import torch

from ...saeuron.miniature.architecture import TEXT_CONFIG, TEXT_WIDTH, UNET_CONFIG
from ...saeuron.miniature.loading import load_preview, load_weights
from .patchers import made_again_by, patcher_for


class MiniatureLatents(comfy.latent_formats.SDXL):
    """SDXL's latents with colours of their own for previews; no decoder of that name is looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_rgb_factors, self.latent_rgb_factors_bias = (tensor.tolist() for tensor in load_preview())
        self.taesd_decoder_name = None


class MiniatureConfig(comfy.supported_models.SDXL):
    unet_config: ClassVar[dict[str, Any]] = {}
    latent_format = MiniatureLatents


class MiniatureTokenizer(comfy.sd1_clip.SDTokenizer):
    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        super().__init__(
            embedding_directory=embedding_directory,
            embedding_size=TEXT_WIDTH,
            embedding_key="clip_l",
            tokenizer_data=tokenizer_data or {},
        )


class MiniatureTokenizerPack(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=MiniatureTokenizer)


class MiniatureTextModel(comfy.sd1_clip.SDClipModel):
    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        super().__init__(
            device=device, dtype=dtype, textmodel_json_config=dict(TEXT_CONFIG), model_options=model_options or {}
        )


class MiniatureTextEncoder(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        super().__init__(device, dtype, model_options or {}, clip_model=MiniatureTextModel)


def load_miniature() -> tuple[Any, comfy.sd.CLIP, comfy.sd.VAE]:
    return _load_model(), _load_clip(), _load_vae()


def _load_vae() -> comfy.sd.VAE:
    vae = comfy.sd.VAE(sd=load_weights("autoencoder"))
    vae.first_stage_model.to(memory_format=torch.channels_last)  # half the time on a CPU
    # What is copied is the patcher's model alone, so that the kind of patcher is of no account here.
    made_again_by(vae.patcher, lambda disable_dynamic=False: _load_vae().patcher)
    return vae


def _load_model(disable_dynamic: bool = False) -> comfy.model_patcher.ModelPatcher:
    weights = load_weights("unet")
    device = comfy.model_management.get_torch_device()
    parameters = sum(tensor.numel() for tensor in weights.values())
    dtype = comfy.model_management.unet_dtype(
        model_params=parameters, supported_dtypes=MiniatureConfig.supported_inference_dtypes
    )
    config = MiniatureConfig(UNET_CONFIG)
    config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device))
    offload_device = comfy.model_management.unet_offload_device()
    model = config.get_model({"v_pred": torch.tensor([])}, device=offload_device)
    model.diffusion_model.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()})
    return made_again_by(patcher_for(model, whole=disable_dynamic), _load_model)


def _load_clip(**newer: Any) -> comfy.sd.CLIP:
    """`newer` is what a newer host asks for when it makes one again; an older one never does."""
    import folder_paths

    target = comfy.supported_models_base.ClipTarget(MiniatureTokenizerPack, MiniatureTextEncoder)
    weights = load_weights("text")
    clip = comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=sum(tensor.numel() for tensor in weights.values()),
        **newer,
    )
    clip.cond_stage_model.clip_l.transformer.load_state_dict(weights)
    made_again_by(clip.patcher, lambda **newer: _load_clip(**newer).patcher)
    return clip
