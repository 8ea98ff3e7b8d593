"""The host's own sampling, as its sampler nodes do it: noise from a seed, progress, previews, interruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...saeuron.errors import SaeuronError


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


def encode_prompts(clip: Any, prompts: list[str]) -> list[Any]:
    """CONDITIONING for each prompt, as CLIPTextEncode makes it."""
    if clip is None:
        raise SaeuronError("The CLIP input holds nothing; connect the CLIP of a checkpoint that has a text encoder.")
    return [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in prompts]


class Progress:
    """One progress bar with previews over several sampling runs. Updating it also lets the host interrupt."""

    def __init__(self, model: Any, runs: int, steps: int) -> None:
        import comfy.utils
        import latent_preview

        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self._bar = comfy.utils.ProgressBar(runs * steps)
        self._steps = steps

    def callback(self, run: int) -> Callable[[int, Tensor, Tensor, int], None]:
        """The sampler callback of the `run`-th run, counted from 0."""

        def report(step: int, x0: Tensor, x: Tensor, total: int) -> None:
            preview = self._previewer.decode_latent_to_preview_image("JPEG", x0) if self._previewer else None
            self._bar.update_absolute(run * self._steps + step + 1, preview=preview)

        return report


def sample(
    model: Any,
    settings: SamplingSettings,
    sigmas: Tensor,
    positive: Any,
    negative: Any,
    seed: int,
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
) -> Tensor:
    """Latents [1, 4, h, w] of one picture; `seed` makes the initial noise as the host's sampler nodes do."""
    import comfy.model_management
    import comfy.sample
    import comfy.samplers
    import comfy.utils

    latent = torch.zeros(
        [1, 4, settings.height // 8, settings.width // 8], device=comfy.model_management.intermediate_device()
    )
    latent = comfy.sample.fix_empty_latent_channels(model, latent)
    noise = comfy.sample.prepare_noise(latent, seed)
    return comfy.sample.sample_custom(
        model,
        noise,
        settings.cfg,
        comfy.samplers.sampler_object(settings.sampler),
        sigmas,
        positive,
        negative,
        latent,
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
