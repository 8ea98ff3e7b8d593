"""Draws many pictures at once through the host's own sampling, for the nodes that measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...saeuron.edits.intervention import Intervention
from ...saeuron.errors import SaeuronError
from ...saeuron.shots import Shot
from .batches import BatchSampler
from .model import Patch, add_patch
from .pictures import to_pixels
from .sampling import SamplingSettings
from .sockets import HostedSAE
from .unet import find_site


class HostPainter:
    """A `Painter` of one MODEL, CLIP and VAE; `shots` and `negative` as `BatchSampler` takes them."""

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
        self._model, self._vae, self._sae = model, vae, sae
        self._site = find_site(model, sae.identity)
        self._sampler = BatchSampler(model, clip, settings, shots, negative)

    def draw(self, shots: Sequence[Shot], interventions: Sequence[Intervention] = ()) -> np.ndarray:
        """Pictures uint8 [len(shots), H, W, 3]; prompts of different lengths may be mixed."""
        model = self._model
        for intervention in interventions:
            model = add_patch(model, Patch(self._site, self._sae, intervention))
        pictures: dict[int, np.ndarray] = {}
        for places, latents in self._sampler.run(model, shots):
            pictures.update(zip(places, to_pixels(self._vae.decode(latents)), strict=True))
        return np.stack([pictures[place] for place in range(len(shots))])
