"""Sampling on diffusers, with the same noise and the same steps as the host's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..edits.call import NEGATIVE, POSITIVE, Call, Row
from ..edits.replace import hold_outside
from ..errors import SaeuronError
from ..noising import noised
from ..schedule import check_schedule
from ..shots import Shot
from .models import DiffusersModel
from .tracing import Reader, TracedUNet

LATENT = 8  # pixels along each side of a latent
SCHEDULERS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
"""diffusers' schedulers whose latents are signal plus sigma times noise; others scale the signal down."""

UNet = Callable[[Mapping[str, Reader]], Tensor]
"""Runs a call of the UNet with readers at some of its modules, as `TracedUNet` does; gives what it predicts."""

CallUNet = Callable[[Call, UNet], Tensor]
"""Makes a call's prediction by running the UNet, once or several times."""


@dataclass(frozen=True)
class ReferenceSettings:
    steps: int = 4
    cfg: float = 1.0
    width: int = 0
    """Pixels; 0 for what the model was trained on."""
    height: int = 0
    batch: int = 8
    negative: str = ""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not 1 <= self.cfg < float("inf"):
            raise SaeuronError(
                "Expected at least 1 step, a batch of at least 1 and cfg of at least 1; found "
                f"{self.steps}, {self.batch} and {self.cfg}."
            )
        if min(self.width, self.height) < 0 or self.width % LATENT or self.height % LATENT:
            raise SaeuronError(f"Width and height are multiples of {LATENT}; found {self.width} x {self.height}.")


class Start(NamedTuple):
    """Where runs begin that begin from pictures."""

    latents: Tensor
    """[B, 4, h, w], without noise, as `Sampler.sample` gives them: a picture for each shot."""

    step: int
    """Of the schedule, from 0. The latents are given the noise of that step's level."""


class Held(NamedTuple):
    """What is held at a picture that was drawn before, while the rest is drawn again."""

    free: Tensor
    """bool [B, 1, h, w]: the rest."""

    clean: Tensor
    """[B, 4, h, w], as `Sampler.sample` gave them for the same shots."""


class Stepped(NamedTuple):
    latents: Tensor
    """[B, 4, h, w], as the next step takes them."""

    denoised: Tensor
    """[B, 4, h, w]: the pictures that the UNet predicted."""


class Sampler:
    """Samples with one model. Errors: `SaeuronError` if its scheduler is none of `SCHEDULERS`."""

    def __init__(self, model: DiffusersModel, settings: ReferenceSettings) -> None:
        if (scheduler := type(model.scheduler).__name__) not in SCHEDULERS:
            raise SaeuronError(
                f"The pipeline has a {scheduler}; expected one of {', '.join(SCHEDULERS)}. Make one with "
                f"{SCHEDULERS[0]}.from_config(pipe.scheduler.config) and save the pipeline with it."
            )
        self._model, self._settings = model, settings
        self._unet, self._scheduler = TracedUNet(model.unet), copy.deepcopy(model.scheduler)
        self.width, self.height = settings.width or model.size, settings.height or model.size
        self._set_schedule()

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise level of each step."""
        return check_schedule([float(sigma) for sigma in self._scheduler.sigmas[:-1]])

    @property
    def device(self) -> torch.device:
        return self._model.device

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.height // LATENT, self.width // LATENT

    def sample(
        self, shots: Sequence[Shot], call_unet: CallUNet, start: Start | None = None, held: Held | None = None
    ) -> Tensor:
        """Latents [B, 4, h, w]; `call_unet` makes each step's prediction.

        Errors: `SaeuronError` if `start` has no step of the schedule or other latents than one for each shot.
        """
        *_, last = self.steps(shots, call_unet, start, held)
        return last.latents if held is None else torch.where(held.free, last.latents, held.clean)

    @torch.inference_mode()
    def steps(
        self, shots: Sequence[Shot], call_unet: CallUNet, start: Start | None = None, held: Held | None = None
    ) -> Iterator[Stepped]:
        """What comes of each step. Errors: as `sample`."""
        self._set_schedule()
        noise = self._noise(shots)
        first, latents = self._begin(noise, start)
        scheduler, cfg = self._scheduler, self._settings.cfg
        scheduler.set_begin_index(first)
        conditioning = self._encode(shots)
        generator = torch.Generator().manual_seed(shots[0].seed % 2**64)
        roles = _roles(cfg)
        rows = tuple(Row(role, picture, area_known=True) for role in roles for picture in range(len(shots)))
        for step, (time, sigma) in list(enumerate(zip(scheduler.timesteps, self.sigmas, strict=True)))[first:]:
            if held is not None:
                latents = hold_outside(latents, held.free, held.clean, noise, sigma)
            scaled = scheduler.scale_model_input(latents, time).to(self._model.dtype)
            prediction = call_unet(Call(sigma, step, rows), self._unet_on(scaled, time, conditioning, len(roles)))
            if len(roles) > 1:
                negative, positive = prediction.float().chunk(2)
                prediction = negative + cfg * (positive - negative)
            done = scheduler.step(prediction.float(), time, latents, generator=generator)
            latents = done.prev_sample
            yield Stepped(latents, done.pred_original_sample)

    def _unet_on(self, latents: Tensor, time: Tensor, conditioning: _Conditioning, halves: int) -> UNet:
        def run(readers: Mapping[str, Reader]) -> Tensor:
            return self._unet(
                readers,
                torch.cat([latents] * halves),
                time.round().to(self._model.device),  # a whole time step, as ComfyUI hands the UNet
                encoder_hidden_states=conditioning.text,
                **conditioning.added,
            )

        return run

    def _begin(self, noise: Tensor, start: Start | None) -> tuple[int, Tensor]:
        """The first step, and float32 latents with the noise of its level."""
        sigmas = self.sigmas
        if start is None:
            start = Start(torch.zeros_like(noise), 0)
        if not 0 <= start.step < len(sigmas):
            raise SaeuronError(f"A run of {len(sigmas)} steps begins at step 0 to {len(sigmas) - 1}, not {start.step}.")
        return start.step, noised(start.latents.to(noise), noise, sigmas[start.step], highest=start.step == 0)

    def _encode(self, shots: Sequence[Shot]) -> _Conditioning:
        """Negative half first, where there is one."""
        prompts = [shot.prompt for shot in shots]
        if NEGATIVE in _roles(self._settings.cfg):
            prompts = [self._settings.negative] * len(shots) + prompts
        text, pooled = self._model.encode(prompts)
        if pooled is None:
            return _Conditioning(text, {})
        size = [self.height, self.width]
        sizes = torch.tensor([[*size, 0, 0, *size]], dtype=text.dtype, device=text.device).repeat(len(text), 1)
        return _Conditioning(text, {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}})

    def _noise(self, shots: Sequence[Shot]) -> Tensor:
        """float32, each picture's from its own seed, on the CPU as the host makes it."""
        shape = (1, 4, *self.latent_size)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(shot.seed % 2**64)) for shot in shots]
        return torch.cat(noise).to(self._model.device)

    def _set_schedule(self) -> None:
        scheduler, steps = self._scheduler, self._settings.steps
        if self._model.schedule is None:
            scheduler.set_timesteps(steps, device=self._model.device)
        else:
            scheduler.set_timesteps(sigmas=list(self._model.schedule(steps)), device=self._model.device)


class _Conditioning(NamedTuple):
    text: Tensor
    added: Mapping[str, Any]
    """What SDXL's UNet takes besides."""


def _roles(cfg: float) -> tuple[str, ...]:
    """Of the batch's halves, in order: at cfg 1 there is only the positive one."""
    return (POSITIVE,) if cfg == 1 else (NEGATIVE, POSITIVE)
