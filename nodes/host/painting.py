"""Draws many pictures at once through the host's own sampling, for the nodes that measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ...saeuron.errors import SaeuronError
from ...saeuron.evaluation.painting import Shot
from ...saeuron.intervention import Intervention
from .patching import Patch, add_patch
from .sampling import Progress, SamplingSettings, encode_prompts, sample, schedule
from .sockets import HostedSAE
from .unet import find_site

MAX_BATCH = 16
PIXELS = 4 * 512 * 512  # in a batch, so that it needs no more memory than people's batches do


class HostPainter:
    """A `Painter` of one MODEL, CLIP and VAE. Text is encoded once per prompt, however often it is drawn.

    `shots` says how many pictures will be drawn in all, for the progress bar. With `cfg` above 1, `negative` is the
    negative prompt.
    """

    def __init__(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        sae: HostedSAE,
        settings: SamplingSettings,
        shots: int,
        negative: str = "",
    ) -> None:
        if vae is None:
            raise SaeuronError("The VAE input holds nothing; connect the VAE of a checkpoint.")
        self._model, self._clip, self._vae, self._sae = model, clip, vae, sae
        self._settings, self._negative = settings, negative
        self._site = find_site(model, sae.identity)
        self._sigmas = schedule(model, settings)
        self._texts: dict[str, Any] = {}
        self._progress = Progress(model, shots, len(self._sigmas) - 1)
        self._drawn = 0
        self._batch = max(1, min(MAX_BATCH, PIXELS // (settings.width * settings.height)))

    def draw(self, shots: Sequence[Shot], interventions: Sequence[Intervention] = ()) -> np.ndarray:
        """Pictures uint8 [len(shots), H, W, 3]; prompts of different lengths may be mixed."""
        model = self._model
        for intervention in interventions:
            model = add_patch(model, Patch(self._site, self._sae, intervention))
        pictures: dict[int, np.ndarray] = {}
        for places in self._batches(shots):
            for place, picture in zip(places, self._draw_batch(model, [shots[p] for p in places]), strict=True):
                pictures[place] = picture
        return np.stack([pictures[place] for place in range(len(shots))])

    def _batches(self, shots: Sequence[Shot]) -> Iterator[list[int]]:
        """Places of shots that can share a batch: their encoded texts must have the same shape."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, shot in enumerate(shots):
            alike.setdefault(tuple(self._encode(shot.prompt)[0].shape), []).append(place)
        for places in alike.values():
            for start in range(0, len(places), self._batch):
                yield places[start : start + self._batch]

    def _encode(self, prompt: str) -> Any:
        if prompt not in self._texts:
            ((text, options),) = encode_prompts(self._clip, [prompt])[0]
            self._texts[prompt] = text, options
        return self._texts[prompt]

    def _draw_batch(self, model: Any, shots: Sequence[Shot]) -> np.ndarray:
        texts = [self._encode(shot.prompt) for shot in shots]
        # A conditioning of as many rows as the latent has gives each picture its own prompt.
        options = dict(texts[0][1])
        if options.get("pooled_output") is not None:
            options["pooled_output"] = torch.cat([own["pooled_output"] for _, own in texts])
        positive = [[torch.cat([text for text, _ in texts]), options]]
        negative = [list(self._encode(self._negative))]
        latents = sample(
            model,
            self._settings,
            self._sigmas,
            positive,
            negative,
            [shot.seed for shot in shots],
            self._progress.callback(self._drawn, len(shots)),
        )
        self._drawn += len(shots)
        return as_uint8(self._vae.decode(latents))


def as_uint8(images: torch.Tensor) -> np.ndarray:
    """The host's IMAGE, float [B, H, W, 3] in 0..1, as uint8."""
    return (images.float() * 255).round().clamp(0, 255).byte().cpu().numpy()


def as_image(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, 3] as the host's IMAGE, float32 in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255
