"""The host's own sampling, as its sampler nodes do it: noise from a seed, progress, previews, interruption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from comfy_api.v0_0_2 import io
from torch import Tensor

from ...saeuron.errors import SaeuronError

MAX_SIZE = 4096


def sampling_inputs() -> list[io.Input]:
    """The inputs of a node that draws pictures: the fields of `SamplingSettings`, then ``seed``."""
    import comfy.samplers

    return [
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="euler",
            tooltip="As when you draw pictures.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            default="sgm_uniform",
            tooltip="As when you draw pictures.",
        ),
        io.Int.Input("steps", default=4, min=1, max=1000, tooltip="As many as when you draw pictures."),
        io.Float.Input("cfg", default=1.0, min=0.0, max=100.0, step=0.1, tooltip="As when you draw pictures."),
        io.Int.Input("width", default=512, min=64, max=MAX_SIZE, step=32, tooltip="Of the pictures, in pixels."),
        io.Int.Input("height", default=512, min=64, max=MAX_SIZE, step=32, tooltip="Of the pictures, in pixels."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=False,
            tooltip="The first picture's seed; each further picture takes the next one.",
        ),
    ]


@dataclass(frozen=True)
class SamplingSettings:
    sampler: str
    scheduler: str
    steps: int
    cfg: float
    width: int
    height: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def schedule(model: Any, settings: SamplingSettings) -> Tensor:
    """The noise levels KSampler would use, float32 [steps + 1], the last one 0."""
    import comfy.samplers

    sampler = comfy.samplers.KSampler(
        model,
        steps=settings.steps,
        device=model.load_device,
        sampler=settings.sampler,
        scheduler=settings.scheduler,
        denoise=1.0,
        model_options=model.model_options,
    )
    return sampler.sigmas


def check_clip(clip: Any) -> None:
    """Errors: `SaeuronError` if there is none: checkpoints without a text encoder give None."""
    if clip is None:
        raise SaeuronError("The CLIP input holds nothing; connect the CLIP of a checkpoint that has a text encoder.")


def encode_prompts(clip: Any, prompts: list[str]) -> list[Any]:
    """CONDITIONING for each prompt, as CLIPTextEncode makes it."""
    check_clip(clip)
    return [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in prompts]


class Progress:
    """One progress bar with previews over the sampling of many pictures. Updating it also lets the host interrupt."""

    def __init__(self, model: Any, pictures: int, steps: int) -> None:
        import comfy.utils
        import latent_preview

        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self._bar = comfy.utils.ProgressBar(pictures * steps)
        self._steps = steps

    def callback(self, done: int, pictures: int = 1) -> Callable[[int, Tensor, Tensor, int], None]:
        """The sampler callback of a run that draws `pictures` at once after `done` of them have been drawn."""

        def report(step: int, x0: Tensor, x: Tensor, total: int) -> None:
            preview = self._previewer.decode_latent_to_preview_image("JPEG", x0[:1]) if self._previewer else None
            self._bar.update_absolute(done * self._steps + pictures * (step + 1), preview=preview)

        return report


def sample(
    model: Any,
    settings: SamplingSettings,
    sigmas: Tensor,
    positive: Any,
    negative: Any,
    seeds: Sequence[int],
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
) -> Tensor:
    """Latents [len(seeds), 4, h, w]; each seed makes its picture's noise as the host's sampler nodes do for one.

    Samplers that add noise on the way take it for the whole batch from the first seed.
    """
    import comfy.model_management
    import comfy.sample
    import comfy.samplers
    import comfy.utils

    latent = torch.zeros(
        [1, 4, settings.height // 8, settings.width // 8], device=comfy.model_management.intermediate_device()
    )
    latent = comfy.sample.fix_empty_latent_channels(model, latent)
    # The host takes seeds of 64 bits.
    noise = torch.cat([comfy.sample.prepare_noise(latent, seed % 2**64) for seed in seeds])
    return comfy.sample.sample_custom(
        model,
        noise,
        settings.cfg,
        comfy.samplers.sampler_object(settings.sampler),
        sigmas,
        positive,
        negative,
        latent.repeat(len(seeds), 1, 1, 1),
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seeds[0] % 2**64,
    )
