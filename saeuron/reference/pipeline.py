"""Prompts to pictures and to statistics on diffusers, with the same noise and the same steps as the host's sampling."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..edits.apply import apply_edits
from ..edits.call import NEGATIVE, POSITIVE, Call, Row
from ..edits.intervention import Intervention
from ..errors import SaeuronError
from ..features.statistics import ActivationStatistics
from ..sae.base_models import check_fits, check_width
from ..sae.files import LoadedSAE
from ..sae.hookpoints import HOOKPOINT
from ..sae.model import SparseAutoencoder, read_tokens
from ..schedule import check_schedule
from ..shots import Shot
from .models import DiffusersModel
from .tracing import Reader, TracedUNet

LATENT = 8  # pixels along each side of a latent
SCHEDULERS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
"""diffusers' schedulers whose latents are signal plus sigma times noise; others scale the signal down."""


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


class ReferencePipeline:
    """A `Pipeline` on diffusers: one model, one SAE at its hookpoint.

    `progress` is called with the number of pictures done after each batch. Errors: `SaeuronError` if the SAE does not
    belong to the model, or the scheduler is none of `SCHEDULERS`.
    """

    def __init__(
        self,
        model: DiffusersModel,
        loaded: LoadedSAE,
        settings: ReferenceSettings,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        hookpoints = [name for name, _ in model.unet.named_modules() if HOOKPOINT.fullmatch(name)]
        hookpoint = check_fits(loaded.identity, "sdxl", model.unet.config.block_out_channels[0], hookpoints)
        check_width(loaded.identity, model.unet.get_submodule(hookpoint).in_channels)
        if (scheduler := type(model.scheduler).__name__) not in SCHEDULERS:
            raise SaeuronError(
                f"The pipeline has a {scheduler}; expected one of {', '.join(SCHEDULERS)}. Make one with "
                f"{SCHEDULERS[0]}.from_config(pipe.scheduler.config) and save the pipeline with it."
            )
        self._model, self._hookpoint, self._settings, self._progress = model, hookpoint, settings, progress
        self.loaded = LoadedSAE(_placed(loaded.sae, model.device), loaded.identity)
        self._unet, self._scheduler = TracedUNet(model.unet), copy.deepcopy(model.scheduler)
        self._width, self._height = settings.width or model.size, settings.height or model.size
        self._set_schedule()

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise level of each step."""
        return check_schedule([float(sigma) for sigma in self._scheduler.sigmas[:-1]])

    def draw_batches(
        self, shots: Sequence[Shot], interventions: Sequence[Intervention] = ()
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """As `Pipeline.draw_batches`; `interventions` are of this SAE."""
        for intervention in interventions:
            intervention.feature_set.check_sae(self.loaded.identity)

        def edit(call: Call) -> Reader:
            return partial(apply_edits, self.loaded.sae, self.loaded.identity.kind, interventions, call)

        start = 0
        for batch in self._batches(shots):
            yield range(start, start + len(batch)), self._decode(self.sample(batch, edit))
            start += len(batch)

    def draw(self, shots: Sequence[Shot], interventions: Sequence[Intervention] = ()) -> np.ndarray:
        """All pictures, uint8 [len(shots), H, W, 3], in the order of `shots`."""
        return np.concatenate([pictures for _, pictures in self.draw_batches(shots, interventions)])

    def collect(self, shots: Sequence[Shot], concept: str = "") -> ActivationStatistics:
        """Statistics of the codes of `shots`, of the positive half only."""
        settings = {**asdict(self._settings), "width": self._width, "height": self._height}
        sampling = {"sampler": type(self._scheduler).__name__, **settings}
        statistics = ActivationStatistics(self.loaded.identity, self.sigmas, sampling, concept)
        for batch in self._batches(shots):
            self.sample(batch, partial(self._record, statistics))
        return statistics

    def _record(self, statistics: ActivationStatistics, call: Call) -> Reader:
        rows = [row for row in range(len(call.rows)) if call.role(row) == POSITIVE]

        def read(block_input: Tensor, block_output: Tensor) -> None:
            x = read_tokens(self.loaded.identity.kind, block_input[rows], block_output[rows])
            statistics.add(call.sigma, self.loaded.sae.encode(x))

        return read

    def _batches(self, shots: Sequence[Shot]) -> Iterator[Sequence[Shot]]:
        if not shots:
            raise SaeuronError("There are no prompts to draw. Give at least one.")
        for start in range(0, len(shots), self._settings.batch):
            batch = shots[start : start + self._settings.batch]
            yield batch
            self._progress(len(batch))

    @torch.inference_mode()
    def sample(self, shots: Sequence[Shot], reader: Callable[[Call], Reader]) -> Tensor:
        """Latents [B, 4, h, w]; `reader` makes what reads the hookpoint in a call of the UNet."""
        model, rows = self._model, len(shots)
        self._set_schedule()
        scheduler, first = self._scheduler, self.sigmas[0]
        conditioning = self._encode(shots)
        # ComfyUI's scale for noise at the highest level; diffusers' leaves the 1 out, which is 0.2 % less.
        latents = self._noise(shots) * (1 + first**2) ** 0.5
        generator = torch.Generator().manual_seed(shots[0].seed % 2**64)
        roles = _roles(self._settings.cfg)
        call_rows = tuple(Row(role, picture, area_known=True) for role in roles for picture in range(rows))
        for step, (time, sigma) in enumerate(zip(scheduler.timesteps, self.sigmas, strict=True)):
            scaled = scheduler.scale_model_input(latents, time).to(model.dtype)
            prediction = self._unet(
                self._hookpoint,
                reader(Call(sigma, step, call_rows)),
                torch.cat([scaled] * len(roles)),
                time.round().to(model.device),  # a whole time step, as ComfyUI hands the UNet
                encoder_hidden_states=conditioning.text,
                added_cond_kwargs={"text_embeds": conditioning.pooled, "time_ids": conditioning.sizes},
            ).float()
            if len(prediction) > rows:
                negative, positive = prediction.chunk(2)
                prediction = negative + self._settings.cfg * (positive - negative)
            latents = scheduler.step(prediction, time, latents, generator=generator, return_dict=False)[0]
        drawn: Tensor = latents
        return drawn

    def _encode(self, shots: Sequence[Shot]) -> _Conditioning:
        """Negative half first, where there is one."""
        prompts = [shot.prompt for shot in shots]
        if NEGATIVE in _roles(self._settings.cfg):
            prompts = [self._settings.negative] * len(shots) + prompts
        text, pooled = self._model.encode(prompts)
        size = [self._height, self._width]
        sizes = torch.tensor([[*size, 0, 0, *size]], dtype=text.dtype, device=text.device).repeat(len(text), 1)
        return _Conditioning(text, pooled, sizes)

    def _noise(self, shots: Sequence[Shot]) -> Tensor:
        """float32, each picture's from its own seed, on the CPU as the host makes it."""
        shape = (1, 4, self._height // LATENT, self._width // LATENT)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(shot.seed % 2**64)) for shot in shots]
        return torch.cat(noise).to(self._model.device)

    def _decode(self, latents: Tensor) -> np.ndarray:
        vae: Any = self._model.vae
        with torch.inference_mode():
            pictures = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
        pixels = ((pictures.float() + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1)
        return np.asarray(pixels.cpu())

    def _set_schedule(self) -> None:
        scheduler, steps = self._scheduler, self._settings.steps
        if self._model.schedule is None:
            scheduler.set_timesteps(steps, device=self._model.device)
        else:
            scheduler.set_timesteps(sigmas=list(self._model.schedule(steps)), device=self._model.device)


class _Conditioning(NamedTuple):
    text: Tensor
    pooled: Tensor
    sizes: Tensor


def _placed(sae: SparseAutoencoder, device: torch.device) -> SparseAutoencoder:
    """`sae` on `device` in float32, which it computes in; a copy where it is not so already."""
    if all(tensor.device == device and tensor.dtype == torch.float32 for tensor in sae.state_dict().values()):
        return sae
    return copy.deepcopy(sae).to(device, torch.float32)


def _roles(cfg: float) -> tuple[str, ...]:
    """Of the batch's halves, in order: at cfg 1 there is only the positive one."""
    return (POSITIVE,) if cfg == 1 else (NEGATIVE, POSITIVE)
