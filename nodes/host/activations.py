"""Activations of a MODEL's block while the host draws, to train an SAE on; and what the SAE costs the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ...saeuron.edits.call import POSITIVE, Call
from ...saeuron.errors import SaeuronError
from ...saeuron.sae.model import SparseAutoencoder, read_tokens
from ...saeuron.schedule import nearest_step
from ...saeuron.shots import Shot, endless_shot
from ...saeuron.training.evaluation import loss_recovered
from .drawing import BatchSampler, schedule
from .hook import Hook, hooked
from .inputs import SamplingSettings
from .model import TokenRecorder, add_recorder
from .unet import Block, uncompiled


class HostActivations:
    """The `Activations` of one block, of pictures that the host draws when they are asked for, without end."""

    pictures: int | None = None
    source: Mapping[str, Any] = MappingProxyType({})
    """What is known of them is in the name of the folder that has the checkpoints."""

    def __init__(
        self,
        model: Any,
        clip: Any,
        settings: SamplingSettings,
        block: Block,
        hookpoint: str,
        prompts: Sequence[str],
        labels: Sequence[str],
        seed: int,
    ) -> None:
        self._model, self._clip, self._settings, self._block, self._hookpoint = model, clip, settings, block, hookpoint
        self._prompts, self._labels, self._seed = list(prompts), list(labels), seed
        self.base_model, self.kind = block.base_model, block.site.kind
        self.widths: Mapping[str, int] = {hookpoint: block.width}
        self.sigmas = tuple(schedule(model, settings)[:-1].tolist())

    def _shot(self, picture: int) -> Shot:
        return endless_shot(self._prompts, self._seed, picture)

    def label(self, picture: int) -> str:
        return self._labels[self._prompts.index(self._shot(picture).prompt)] if self._labels else ""

    def read(self, pictures: Sequence[int]) -> dict[str, Tensor]:
        with torch.inference_mode():  # the host's own samplers expect it
            tokens = self._read([self._shot(picture) for picture in pictures])
        return {self._hookpoint: tokens.clone()}  # of inference mode's tensors no gradient can be had

    def _read(self, shots: Sequence[Shot]) -> Tensor:
        """float16 [len(shots), s, t, d] on the CPU."""
        found: dict[tuple[int, int], Tensor] = {}
        sampler = BatchSampler(self._model, self._clip, self._settings, len(shots))
        for places in sampler.batches(shots):
            recorder = TokenRecorder(self._block.site, None, partial(self._keep, found, places))
            sampler.sample(add_recorder(self._model, recorder), [shots[place] for place in places])
        try:
            return torch.stack(
                [torch.stack([found[place, step] for step in range(len(self.sigmas))]) for place in range(len(shots))]
            )
        except KeyError as error:
            raise SaeuronError(
                "At some steps the block was not run for every picture: another node on this MODEL leaves it out then. "
                "Take that node out, or give the steps that it works at as SIGMAS."
            ) from error

    def _keep(
        self, found: dict[tuple[int, int], Tensor], places: Sequence[int], call: Call, given: Tensor, gave: Tensor
    ) -> None:
        step = nearest_step(self.sigmas, call.sigma)
        rows = [row for row in range(len(call.rows)) if call.role(row) == POSITIVE]
        for row, tokens in zip(rows, read_tokens(self.kind, given, gave), strict=True):
            # Samplers of second order come to a step more than once.
            found.setdefault((places[call.picture(row)], step), tokens.flatten(0, 1).half().cpu())

    @torch.inference_mode()
    def loss_recovered(self, sae: SparseAutoencoder, pictures: Sequence[int]) -> float:
        """`training.evaluation.loss_recovered`: the loss is the mean square error of the noise predicted at each step
        in pictures that the model draws itself; cfg counts as it does while drawing."""
        import comfy.model_management

        sae = sae.to(comfy.model_management.get_torch_device())

        def whole(block_input: Tensor, block_output: Tensor, tokens: Tensor) -> Tensor:
            changed = tokens.permute(0, 3, 1, 2)  # BHWC -> BCHW
            return (changed + block_input.float() if self.kind == "update" else changed).to(block_output.dtype)

        def reconstructed(block_input: Tensor, block_output: Tensor) -> Tensor:
            x = read_tokens(self.kind, block_input, block_output).permute(0, 2, 3, 1)  # BCHW -> BHWC
            return whole(block_input, block_output, sae.decode(sae.encode(x)))

        def without(block_input: Tensor, block_output: Tensor) -> Tensor:
            tokens = sae.decoder_bias.expand(*block_output.permute(0, 2, 3, 1).shape)
            return whole(block_input, block_output, tokens)

        shots = [self._shot(picture) for picture in pictures]
        sampler = BatchSampler(self._model, self._clip, self._settings, len(shots) * (1 + 3 * len(self.sigmas)))
        losses = torch.zeros(3, dtype=torch.float64)
        for places in sampler.batches(shots):
            own = [shots[place] for place in places]
            latents = sampler.sample(self._model, own)
            for place, hook in enumerate((None, reconstructed, without)):
                losses[place] += len(own) * self._loss(sampler, own, latents, hook)
        sae.cpu()
        return loss_recovered(*losses.tolist())

    def _loss(self, sampler: BatchSampler, shots: Sequence[Shot], latents: Tensor, hook: Hook | None) -> float:
        """Mean over the schedule's steps, with `hook` on the block."""
        unet = uncompiled(self._model.get_model_object("diffusion_model"))
        total = 0.0
        with hooked(unet, [] if hook is None else [(self._block.site.module, hook)]):
            for step, sigma in enumerate(self.sigmas):
                found = sampler.denoise(self._model, shots, step, latents)
                total += float((found - latents).float().square().mean()) / sigma**2
        return total / len(self.sigmas)
