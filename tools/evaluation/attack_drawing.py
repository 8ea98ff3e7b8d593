"""Draws for attacks: from texts, from encoded texts with gradients, from noised pictures, and into half of a picture.

Everything goes through the host's own sampling with the treatment on the MODEL, so that gates open and close as they do
for people.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saeuron.evaluation.scenes import slices
from saeuron.shots import Shot
from tools.pack import pack

from .studio import MINIATURE, SIZE, Studio
from .treatment import Treatment

Encoded = tuple[Tensor, Tensor]
"""A text [1, s, c], and its pooled vector [1, p]."""


@dataclass
class Artist:
    """Draws with one treatment."""

    studio: Studio
    treatment: Treatment

    model: Any = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.treatment.model(self.studio.part("miniature"))

    def draw(self, shots: Sequence[Shot]) -> np.ndarray:
        """Pictures uint8 [len(shots), H, W, 3], as the treatment rewrites their prompts."""
        return self.studio.draw(self.treatment.shots(shots), self.treatment)

    def latents(self, shots: Sequence[Shot]) -> Tensor:
        """[len(shots), 4, h, w], of exactly these prompts."""
        found: dict[int, Tensor] = {}
        for places, latents in self._sampler(len(shots)).run(self.model, shots):
            found.update(zip(places, latents, strict=True))
        return torch.stack([found[place] for place in range(len(shots))])

    def from_pictures(self, prompt: str, seeds: Sequence[int], start: Tensor, step: int) -> np.ndarray:
        """Runs that begin at `step` from the pictures `start` [b, 4, h, w] with noise on them."""
        return self._continued(prompt, seeds, start, step, None)

    def into_half(self, prompt: str, seeds: Sequence[int], start: Tensor, step: int, half: str = "right") -> np.ndarray:
        """The same, with `half` drawn and the rest kept as it is: inpainting."""
        mask = torch.zeros(1, 1, SIZE, SIZE)
        rows, columns = slices(half, SIZE, SIZE)
        mask[..., rows, columns] = 1
        return self._continued(prompt, seeds, start, step, mask)

    def _continued(
        self, prompt: str, seeds: Sequence[int], start: Tensor, step: int, mask: Tensor | None
    ) -> np.ndarray:
        import comfy.samplers

        sigmas = self._sampler(len(seeds)).sigmas[step:]
        (text, negative) = (self._encoded(words) for words in (prompt, self.treatment.negative))
        drawn = self._sample(text, negative, seeds, sigmas, comfy.samplers.sampler_object("euler"), start, mask)
        pixels: np.ndarray = pack("nodes.host.pictures").to_pixels(self.studio.part("miniature")[2].decode(drawn))
        return pixels

    def encode(self, prompt: str) -> Encoded:
        text, options = self._encoded(prompt)[0]
        return text.detach().clone(), options["pooled_output"].detach().clone()

    def with_gradient(self, encoded: Sequence[Tensor], seed: int) -> Tensor:
        """The picture of an encoded text, float32 [1, H, W, 3], with a graph back to it."""
        import comfy.samplers

        text, pooled = encoded
        vae = self.studio.part("miniature")[2]
        with torch.enable_grad():
            negative = self._encoded(self.treatment.negative)
            sampler = comfy.samplers.KSAMPLER(euler)
            latents = self._sample(
                [[text, {"pooled_output": pooled}]], negative, [seed], self._sampler(1).sigmas, sampler
            )
            decoded = vae.first_stage_model.decode(latents.to(vae.vae_dtype)).float()
            picture: Tensor = vae.process_output(decoded).movedim(1, -1)
        return picture

    def _encoded(self, prompt: str) -> Any:
        clip = self.studio.part("miniature")[1]
        return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))

    def _sampler(self, pictures: int) -> Any:
        return self.studio.sampler(self.model, self.treatment, pictures)

    def _sample(
        self,
        positive: Any,
        negative: Any,
        seeds: Sequence[int],
        sigmas: Tensor,
        sampler: Any,
        start: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        import comfy.sample

        empty = torch.zeros(1, 4, SIZE // 8, SIZE // 8)
        noise = torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])
        latents: Tensor = comfy.sample.sample_custom(
            self.model,
            noise,
            self.treatment.cfg,
            sampler,
            sigmas,
            positive,
            negative,
            torch.zeros_like(noise) if start is None else start,
            noise_mask=mask,
            disable_pbar=True,
            seed=seeds[0],
        )
        self.studio.drawn += len(seeds)
        return latents


def euler(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, disable: Any = None
) -> Tensor:
    """The host's Euler steps, which it takes without gradients."""
    for number, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma * x.new_ones([x.shape[0]]), **(extra_args or {}))
        if callback is not None:
            callback({"x": x.detach(), "i": number, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised.detach()})
        x = x + (x - denoised) / sigma * (following - sigma)
    return x


class SoftJudge:
    """The classifier of objects on pictures with gradients: it resizes as its own preparation does."""

    def __init__(self, studio: Studio) -> None:
        self._judge = studio.part("objects")
        folder = MINIATURE / "classifiers" / "objects"
        config = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        self._size = config["size"]["height"], config["size"]["width"]
        self._mean, self._std = (torch.tensor(config[name])[:, None, None] for name in ("image_mean", "image_std"))

    def log_probability(self, picture: Tensor, label: str) -> Tensor:
        """Of `label` on a picture, float [1, H, W, 3] in 0..1; a scalar."""
        resized = torch.nn.functional.interpolate(
            picture.movedim(-1, 1), self._size, mode="bilinear", antialias=True, align_corners=False
        )
        logits: Tensor = self._judge.module((resized - self._mean) / self._std)
        return logits.float().log_softmax(1)[0, self._judge.labels.index(label)]
