"""Drawing many pictures through the host's own sampling: noise from a seed, batches, progress, interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...saeuron.edits.apply import Edit
from ...saeuron.errors import SaeuronError
from ...saeuron.schedule import steps_of
from ...saeuron.shots import Shot
from .encoding import ENCODED_AT_ONCE, Conditioning, EncodedPrompts, can_share_batch, conditioning_of_batch
from .inputs import SamplingSettings
from .model import Patch, add_patch
from .pictures import to_pixels
from .sockets import HostedSAE
from .unet import find_site

MAX_BATCH = 16
PIXELS = 4 * 512 * 512  # in a batch, so that it needs no more memory than people's batches do


def schedule(model: Any, settings: SamplingSettings) -> Tensor:
    """The noise levels of a run, float32 [steps + 1]: those given, or those that KSampler would use.

    Errors: `SaeuronError` if the scheduler gives what is no schedule.
    """
    import comfy.samplers

    if settings.sigmas:
        return torch.tensor(settings.sigmas)
    sampler = comfy.samplers.KSampler(
        model,
        steps=settings.steps,
        device=model.load_device,
        sampler=settings.sampler,
        scheduler=settings.scheduler,
        denoise=1.0,
        model_options=model.model_options,
    )
    try:
        steps_of(sampler.sigmas.tolist())
    except SaeuronError as error:  # such as the NaN that kl_optimal gives for a single step
        raise SaeuronError(
            f"The scheduler {settings.scheduler} has no schedule for steps = {settings.steps}; choose another "
            f"scheduler or number of steps. ({error})"
        ) from error
    return sampler.sigmas


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


class BatchSampler:
    """Samples many prompts, as many at once as fit, each encoded before the first of them is drawn.

    `pictures` says how many will be sampled in all, for the progress bar; `at_once` how many at most in a batch. With
    cfg above 1, `negative` is the negative prompt.
    """

    def __init__(
        self,
        model: Any,
        clip: Any,
        settings: SamplingSettings,
        pictures: int,
        negative: str = "",
        at_once: int | None = None,
    ) -> None:
        self.sigmas = schedule(model, settings)
        self._settings, self._negative = settings, negative
        self._texts = EncodedPrompts(clip)
        self._progress = Progress(model, pictures, len(self.sigmas) - 1)
        self._done = 0
        most = MAX_BATCH if at_once is None else at_once
        self._batch = max(1, min(most, PIXELS // (settings.width * settings.height)))

    def run(self, model: Any, shots: Sequence[Shot]) -> Iterator[tuple[list[int], Tensor]]:
        """Places in `shots` and their latents [b, 4, h, w], batch after batch, every shot once."""
        for places in self.batches(shots):
            yield places, self.sample(model, [shots[place] for place in places])

    def skip(self, pictures: int) -> None:
        """Leave out a batch that was drawn in an earlier run."""
        self._done += pictures

    def batches(self, shots: Sequence[Shot]) -> Iterator[list[int]]:
        """Places of shots that are to be drawn together, every shot once.

        All their prompts are encoded before the first batch comes; of a long list a part of `ENCODED_AT_ONCE` prompts,
        then the next one.
        """
        for part in _parts(shots):
            self._texts.encode([self._negative, *(shots[place].prompt for place in part)])
            for places in self._alike(shots, part):
                for start in range(0, len(places), self._batch):
                    yield places[start : start + self._batch]

    def _alike(self, shots: Sequence[Shot], part: Sequence[int]) -> list[list[int]]:
        """The places in `part`, in groups that can share a batch."""
        groups: list[list[int]] = []
        for place in part:
            own = self._texts[shots[place].prompt]
            for group in groups:
                if can_share_batch(self._texts[shots[group[0]].prompt], own):
                    group.append(place)
                    break
            else:
                groups.append([place])
        return groups

    def sample(self, model: Any, shots: Sequence[Shot]) -> Tensor:
        """The latents [b, 4, h, w] of a batch that `batches` gave."""
        return self._sample(model, shots, self.sigmas)

    def sample_step(self, model: Any, shots: Sequence[Shot], step: int, start: Tensor | None = None) -> None:
        """That step alone, for what can be seen in it; from the pictures `start` [b, 4, h, w] with noise on them."""
        self._sample(model, shots, self.sigmas[step : step + 2], start)

    def denoise(self, model: Any, shots: Sequence[Shot], step: int, start: Tensor) -> Tensor:
        """What the model takes the pictures `start` [b, 4, h, w] for when they have the noise of that step on them."""
        ending = torch.stack([self.sigmas[step], torch.zeros_like(self.sigmas[step])])
        return self._sample(model, shots, ending, start, "euler")  # whose last step gives just that

    def _sample(
        self, model: Any, shots: Sequence[Shot], sigmas: Tensor, start: Tensor | None = None, sampler: str = ""
    ) -> Tensor:
        """`sampler`: that of the settings where it is empty."""
        import comfy.model_management

        device = comfy.model_management.intermediate_device()
        settings = replace(self._settings, sampler=sampler or self._settings.sampler)
        latents = _sample(
            model,
            settings,
            sigmas,
            start,
            conditioning_of_batch([self._texts[shot.prompt] for shot in shots], device),
            conditioning_of_batch([self._texts[self._negative]], device),
            [shot.seed for shot in shots],
            self._progress.callback(self._done, len(shots)),
        )
        self._done += len(shots)
        return latents


def _parts(shots: Sequence[Shot]) -> Iterator[list[int]]:
    """Places in `shots`, a part for each `ENCODED_AT_ONCE` prompts: all shots of a prompt are in one."""
    places_of: dict[str, list[int]] = {}
    for place, shot in enumerate(shots):
        places_of.setdefault(shot.prompt, []).append(place)
    prompts = list(places_of)
    for start in range(0, len(prompts), ENCODED_AT_ONCE):
        yield sorted(place for prompt in prompts[start : start + ENCODED_AT_ONCE] for place in places_of[prompt])


def _sample(
    model: Any,
    settings: SamplingSettings,
    sigmas: Tensor,
    start: Tensor | None,
    positive: Conditioning,
    negative: Conditioning,
    seeds: Sequence[int],
    callback: Callable[[int, Tensor, Tensor, int], None],
) -> Tensor:
    """Latents [len(seeds), 4, h, w]; each seed makes its picture's noise as the host's sampler nodes do for one.

    With `start`, of the same shape, the runs begin from its pictures. Samplers that add noise on the way take it for
    the whole batch from the first seed.
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
        latent.repeat(len(seeds), 1, 1, 1) if start is None else start,
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seeds[0] % 2**64,
    )


class HostPipeline:
    """A `Pipeline` of one MODEL, CLIP and VAE; `pictures` and `negative` as `BatchSampler` takes them."""

    def __init__(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        sae: HostedSAE,
        settings: SamplingSettings,
        pictures: int,
        negative: str = "",
    ) -> None:
        if vae is None:
            raise SaeuronError("The VAE input holds nothing; connect the VAE of a checkpoint.")
        self._model, self._vae, self._sae = model, vae, sae
        self._site = find_site(model, sae.identity)
        self._sampler = BatchSampler(model, clip, settings, pictures, negative)

    def draw_batches(self, shots: Sequence[Shot], edits: Sequence[Edit] = ()) -> Iterator[tuple[list[int], np.ndarray]]:
        """As `Pipeline.draw_batches`; prompts of different lengths may be mixed."""
        model = self._model
        for edit in edits:
            model = add_patch(model, Patch(self._site, self._sae, edit))
        for places, latents in self._sampler.run(model, shots):
            yield places, to_pixels(self._vae.decode(latents))

    def draw(self, shots: Sequence[Shot], edits: Sequence[Edit] = ()) -> np.ndarray:
        """All pictures, uint8 [len(shots), H, W, 3], in the order of `shots`."""
        pictures: dict[int, np.ndarray] = {}
        for places, drawn in self.draw_batches(shots, edits):
            pictures.update(zip(places, drawn, strict=True))
        return np.stack([pictures[place] for place in range(len(shots))])
