"""Activations of a model's blocks while it draws, to train SAEs on; and what a trained SAE costs the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ..edits.call import POSITIVE, Call
from ..errors import SaeuronError
from ..sae.hookpoints import HOOKPOINT, canonical_name
from ..sae.model import SparseAutoencoder, read_tokens
from ..shots import Shot, endless_shot
from ..training.evaluation import loss_recovered
from .models import DiffusersModel
from .sampling import ReferenceSettings, Sampler, Start, UNet
from .tracing import Reader


class DrawnActivations:
    """The `Activations` of pictures that are drawn when they are asked for, without end.

    Picture i has one of `prompts` and the seed ``seed + i``; every prompt comes once before one comes again. Several
    hookpoints are read in one pass. Errors: `SaeuronError` for a hookpoint that the model does not have.
    """

    pictures: int | None = None

    def __init__(
        self,
        model: DiffusersModel,
        settings: ReferenceSettings,
        base_model: str,
        kind: str,
        hookpoints: Sequence[str],
        prompts: Sequence[str],
        labels: Sequence[str] = (),
        seed: int = 0,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        there = {name for name, _ in model.unet.named_modules() if HOOKPOINT.fullmatch(name)}
        names = [canonical_name(name) for name in hookpoints]
        if missing := [name for name in names if name not in there]:
            raise SaeuronError(f"The model has no block {missing[0]}; it has {', '.join(sorted(there))}.")
        self.base_model, self.kind = base_model, kind
        self.widths: Mapping[str, int] = {name: model.unet.get_submodule(name).in_channels for name in names}
        self._sampler, self._at_once = Sampler(model, settings), settings.batch
        self.sigmas = self._sampler.sigmas
        self._prompts, self._labels, self._seed, self._progress = list(prompts), list(labels), seed, progress
        self.source = {"prompts": hashlib.sha256("\n".join(prompts).encode()).hexdigest()}

    def shot(self, picture: int) -> Shot:
        return endless_shot(self._prompts, self._seed, picture)

    def label(self, picture: int) -> str:
        return self._labels[self._prompts.index(self.shot(picture).prompt)] if self._labels else ""

    def read(self, pictures: Sequence[int]) -> dict[str, Tensor]:
        """float16 on the CPU; only the positive half is read."""
        parts: dict[str, list[Tensor]] = {name: [] for name in self.widths}
        for start in range(0, len(pictures), self._at_once):
            shots = [self.shot(picture) for picture in pictures[start : start + self._at_once]]
            for name, tokens in self._read_batch(shots).items():
                parts[name].append(tokens)
            self._progress(len(shots))
        return {name: torch.cat(tokens) for name, tokens in parts.items()}

    def _read_batch(self, shots: Sequence[Shot]) -> dict[str, Tensor]:
        """[len(shots), s, t, d] of each hookpoint."""
        steps: dict[str, list[Tensor]] = {name: [] for name in self.widths}

        def call_unet(call: Call, unet: UNet) -> Tensor:
            rows = [row for row in range(len(call.rows)) if call.role(row) == POSITIVE]

            def reader(name: str, block_input: Tensor, block_output: Tensor) -> None:
                x = read_tokens(self.kind, block_input[rows], block_output[rows])
                steps[name].append(x.flatten(1, 2).half().cpu())

            readers: dict[str, Reader] = {name: partial(reader, name) for name in self.widths}
            return unet(readers)

        self._sampler.sample(shots, call_unet)
        # Copied outside of inference mode, whose tensors no gradient can pass.
        return {name: torch.stack(own, 1).clone() for name, own in steps.items()}

    def loss_recovered(self, hookpoint: str, sae: SparseAutoencoder, pictures: Sequence[int]) -> float:
        """`training.evaluation.loss_recovered`: the loss is the mean square error of the noise predicted at each step
        in `pictures` that the model draws itself."""
        sae = sae.to(self._sampler.device)

        def reconstructed(block_input: Tensor, block_output: Tensor) -> Tensor:
            tokens = sae.decode(sae.encode(read_tokens(self.kind, block_input, block_output)))
            return self._output(block_input, block_output, tokens)

        def without(block_input: Tensor, block_output: Tensor) -> Tensor:
            return self._output(block_input, block_output, sae.decoder_bias.expand_as(block_output))

        losses = torch.zeros(3, dtype=torch.float64)
        for start in range(0, len(pictures), self._at_once):
            shots = [self.shot(picture) for picture in pictures[start : start + self._at_once]]
            latents = self._sampler.sample(shots, lambda _call, unet: unet({}))
            ways: tuple[Mapping[str, Reader], ...] = ({}, {hookpoint: reconstructed}, {hookpoint: without})
            for place, readers in enumerate(ways):
                losses[place] += len(shots) * self._loss(shots, latents, readers)
        sae.cpu()
        plain, with_sae, with_nothing = losses.tolist()
        return loss_recovered(plain, with_sae, with_nothing)

    def _output(self, block_input: Tensor, block_output: Tensor, tokens: Tensor) -> Tensor:
        """The block's output with these `tokens` in place of those that it computed."""
        whole = tokens + block_input.float() if self.kind == "update" else tokens
        return whole.to(block_output.dtype)

    def _loss(self, shots: Sequence[Shot], latents: Tensor, readers: Mapping[str, Reader]) -> float:
        """Mean over the schedule's steps."""
        losses = []
        for step, sigma in enumerate(self.sigmas):
            first = next(self._sampler.steps(shots, lambda _call, unet: unet(readers), Start(latents, step)))
            losses.append(float((first.denoised - latents).float().square().mean()) / sigma**2)
        return sum(losses) / len(losses)
