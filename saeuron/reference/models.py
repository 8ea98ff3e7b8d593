"""The model that the reference path draws with: the parts of an SDXL or SD 1.x pipeline of diffusers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SaeuronError
from . import require_diffusers


@dataclass(frozen=True)
class DiffusersModel:
    """Its parts may be in use elsewhere: the reference path changes none of them."""

    unet: Any
    vae: Any
    scheduler: Any

    encode: Callable[[Sequence[str]], tuple[Tensor, Tensor | None]]
    """Prompts -> what the UNet attends to [B, t, c], and the pooled text [B, p], None for SD 1.x."""

    size: int
    """Pixels along each side of the pictures it was trained on."""

    schedule: Callable[[int], Sequence[float]] | None = None
    """The noise levels of so many steps with a final 0, or None for the scheduler's own."""

    @property
    def family(self) -> str:
        """The UNet's layout, a key of `FAMILIES`."""
        return family_of(self.unet)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.unet.dtype
        return dtype


def family_of(unet: Any) -> str:
    """The layout of a `UNet2DConditionModel`. Errors: `SaeuronError` if it is neither SDXL's nor SD 1.x's."""
    config = unet.config
    if config.addition_embed_type == "text_time":
        return "sdxl"
    if config.addition_embed_type is None and len(config.block_out_channels) == 4 and config.in_channels == 4:
        return "sd15"
    raise SaeuronError(
        "The pipeline's UNet is not SDXL's and not SD 1.x's. Choose an SDXL, SDXL-Turbo or SD 1.x model."
    )


_PIPELINES = ("StableDiffusionXLPipeline", "StableDiffusionPipeline")


def load_model(name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> DiffusersModel:
    """An SDXL or SD 1.x pipeline as diffusers saves it: a folder, or the name of a repository on the Hugging Face hub.

    Errors: `SaeuronError` that says what to download and where to put it, or that it is neither of these.
    """
    diffusers = require_diffusers()
    try:
        kind = diffusers.DiffusionPipeline.load_config(name)["_class_name"]
        if kind not in _PIPELINES:
            raise SaeuronError(f"it is a {kind}")
        # SD 1.x's checker replaces pictures by black ones, which a measurement would take for the edit's work.
        options = {"safety_checker": None, "requires_safety_checker": False} if kind == _PIPELINES[1] else {}
        pipe = getattr(diffusers, kind).from_pretrained(name, torch_dtype=dtype, use_safetensors=True, **options)
    except Exception as error:  # the hub, the network and the files each have exceptions of their own
        raise SaeuronError(_unavailable(name, error)) from error
    return model_of(pipe.to(device))


def model_of(pipe: Any) -> DiffusersModel:
    """The parts of a `StableDiffusionXLPipeline` or a `StableDiffusionPipeline` that somebody has already; it stays as
    it is.

    Errors: as `family_of`.
    """
    family = family_of(pipe.unet)
    vae = pipe.vae
    if vae.config.force_upcast and vae.dtype != torch.float32:
        vae = copy.deepcopy(vae).to(torch.float32)  # overflows in float16

    @torch.inference_mode()
    def encode(prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        device = pipe.unet.device
        if family == "sdxl":
            text, _, pooled, _ = pipe.encode_prompt(list(prompts), device=device, do_classifier_free_guidance=False)
            return text, pooled
        text, _ = pipe.encode_prompt(list(prompts), device, 1, do_classifier_free_guidance=False)
        return text, None

    return DiffusersModel(
        unet=pipe.unet,
        vae=vae,
        scheduler=pipe.scheduler,
        encode=encode,
        size=pipe.unet.config.sample_size * pipe.vae_scale_factor,
    )


def _unavailable(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return f"{name} is no SDXL or SD 1.x pipeline as diffusers saves it, with a model_index.json in it. ({error})"
    return (
        f"The model {name!r} is neither a folder nor could it be had from the Hugging Face hub. Where there is a "
        f"network run `hf download {name} --exclude '*.ckpt' --local-dir FOLDER`, copy FOLDER here, and give its path "
        f"in place of the name; or use the miniature. ({type(error).__name__}: {str(error)[:200]})"
    )
