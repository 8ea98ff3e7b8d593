"""Samples many prompts through the host's own sampling, as many at once as fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ...saeuron.shots import Shot
from .sampling import Progress, SamplingSettings, encode_prompts, sample, schedule

MAX_BATCH = 16
KEPT_TEXTS = 64
"""Encoded prompts that are kept, so that memory does not grow with a long list; one of SDXL's takes 0.6 MB."""
PIXELS = 4 * 512 * 512  # in a batch, so that it needs no more memory than people's batches do


class BatchSampler:
    """A prompt that is drawn again soon is not encoded again.

    `pictures` says how many will be sampled in all, for the progress bar. With cfg above 1, `negative` is the negative
    prompt.
    """

    def __init__(self, model: Any, clip: Any, settings: SamplingSettings, pictures: int, negative: str = "") -> None:
        self.sigmas = schedule(model, settings)
        self._clip, self._settings, self._negative = clip, settings, negative
        self._texts: OrderedDict[str, Any] = OrderedDict()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._progress = Progress(model, pictures, len(self.sigmas) - 1)
        self._done = 0
        self._batch = max(1, min(MAX_BATCH, PIXELS // (settings.width * settings.height)))

    def run(self, model: Any, shots: Sequence[Shot], skip: int = 0) -> Iterator[tuple[list[int], Tensor]]:
        """Places in `shots` and their latents [b, 4, h, w], batch after batch, every shot once.

        `skip` batches are left out at the beginning: they were drawn in an earlier run.
        """
        for number, places in enumerate(self._batches(shots)):
            if number < skip:
                self._done += len(places)
            else:
                yield places, self._sample(model, [shots[place] for place in places])

    def _batches(self, shots: Sequence[Shot]) -> Iterator[list[int]]:
        """Places of shots that can share a batch: their encoded texts must have the same shape."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, shot in enumerate(shots):
            alike.setdefault(self._shape(shot.prompt), []).append(place)
        for places in alike.values():
            for start in range(0, len(places), self._batch):
                yield places[start : start + self._batch]

    def _shape(self, prompt: str) -> tuple[int, ...]:
        if prompt not in self._shapes:
            self._shapes[prompt] = tuple(self._encode(prompt)[0].shape)
        return self._shapes[prompt]

    def _encode(self, prompt: str) -> Any:
        if prompt not in self._texts:
            ((text, options),) = encode_prompts(self._clip, [prompt])[0]
            self._texts[prompt] = text, options
            if len(self._texts) > KEPT_TEXTS:
                self._texts.popitem(last=False)
        self._texts.move_to_end(prompt)
        return self._texts[prompt]

    def _sample(self, model: Any, shots: Sequence[Shot]) -> Tensor:
        texts = [self._encode(shot.prompt) for shot in shots]
        # A conditioning of as many rows as the latent has gives each picture its own prompt.
        options = dict(texts[0][1])
        if options.get("pooled_output") is not None:
            options["pooled_output"] = torch.cat([own["pooled_output"] for _, own in texts])
        latents = sample(
            model,
            self._settings,
            self.sigmas,
            [[torch.cat([text for text, _ in texts]), options]],
            [list(self._encode(self._negative))],
            [shot.seed for shot in shots],
            self._progress.callback(self._done, len(shots)),
        )
        self._done += len(shots)
        return latents
