"""Small graphs, run as the host's nodes run them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tools.pack import pack


class Shot(NamedTuple):
    """How a picture is sampled: of two steps, on 16 x 16 latents, so that most hookpoints have 4 x 4 tokens."""

    sampler: str = "euler"
    scheduler: str = "sgm_uniform"
    steps: int = 2
    cfg: float = 1.0
    batch: int = 1
    width: int = 128
    height: int = 128
    seed: int = 5


def sample(
    miniature: tuple,
    model: Any,
    shot: Shot,
    text: str = "a cat in twemoji style",
    sigmas: Tensor | None = None,
    latent: Tensor | None = None,
) -> Tensor:
    """Latents as KSampler (or, with `sigmas`, SamplerCustom) makes them; from nothing but noise without `latent`."""
    import comfy.sample
    import comfy.samplers

    clip = miniature[1]
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(t)) for t in (text, ""))
    latent = torch.zeros(shot.batch, 4, shot.height // 8, shot.width // 8) if latent is None else latent
    noise = comfy.sample.prepare_noise(latent, shot.seed)
    if sigmas is not None:
        sampler = comfy.samplers.sampler_object(shot.sampler)
        return comfy.sample.sample_custom(
            model, noise, shot.cfg, sampler, sigmas, positive, negative, latent, disable_pbar=True, seed=shot.seed
        )
    return comfy.sample.sample(
        model, noise, shot.steps, shot.cfg, shot.sampler, shot.scheduler, positive, negative, latent,
        disable_pbar=True, seed=shot.seed,
    )  # fmt: skip


def load_sae(hookpoint: str = "up_blocks.0.attentions.1") -> Any:
    """The node Load SAE on one of the miniature's."""
    loader = pack("nodes.load").SaeuronLoadSAE
    return loader.execute(f"miniature-{hookpoint}.safetensors", *["from file"] * 3).result[0]


def load_feature_set(file: str) -> Any:
    """The node Load Feature Set; `file` as its menu names it."""
    return pack("nodes.feature_sets").SaeuronLoadFeatureSet.execute(file, "").result[0]


def compiled(model: Any, backend: str = "eager") -> Any:
    """The host's torch.compile; by default with the backend that compiles nothing, but puts the wrapper in place."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    wrapped = model.clone()
    set_torch_compile_wrapper(model=wrapped, backend=backend)
    return wrapped


def unlearn(model: Any, sae: Any, feature_set: Any, multiplier: float = -20.0, **options: Any) -> Any:
    """The node Unlearn with its defaults."""
    defaults = {"mode": "exact", "rule": "gamma-mu", "start_percent": 0.0, "end_percent": 1.0, "halves": "both"}
    node = pack("nodes.unlearn").SaeuronUnlearn
    return node.execute(model, sae, feature_set, multiplier, **{**defaults, **options}).result[0]


def steer(model: Any, sae: Any, strengths: str, **options: Any) -> Any:
    """The node Steer Features with its defaults."""
    defaults = {"start_percent": 0.0, "end_percent": 1.0, "halves": "both"}
    return pack("nodes.steer").SaeuronSteerFeatures.execute(model, sae, strengths, **{**defaults, **options}).result[0]


def replace(model: Any, clip: Any, sae: Any, feature_set: Any, concept: str, instead: str, **options: Any) -> Any:
    """The node Replace Concept with its defaults; `concept` and `instead` are prompts."""
    defaults = {
        "strength": 100.0,
        "sensitivity": 1.0,
        "growth": 0,
        "feather": 0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    texts = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (concept, instead))
    node = pack("nodes.replace").SaeuronReplace
    return node.execute(model, sae, feature_set, *texts, **{**defaults, **options}).result[0]


def in_context_windows(model: Any, length: int, overlap: int) -> Any:
    """The host's Context Windows (Manual) along the batch; inputs that are not named have their defaults."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode as node

    defaults = {i.id: i.default for i in node.define_schema().inputs if getattr(i, "default", None) is not None}
    chosen = {
        "context_length": length,
        "context_overlap": overlap,
        "context_schedule": "standard_static",
        "fuse_method": "flat",
        "dim": 0,
    }
    return node.execute(model, **{**defaults, **chosen}).result[0]


def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer hosts move their progress bars ten times a second at most: here, whenever they are told to."""
    import comfy.utils

    for name in ("PROGRESS_THROTTLE_MIN_INTERVAL", "PROGRESS_THROTTLE_MIN_PERCENT"):
        monkeypatch.setattr(comfy.utils, name, 0, raising=False)


def hooked_blocks(model: Any) -> list[str]:
    """The modules of `model` (the host's MODEL) that something was left in."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    return [
        name
        for name, module in model.model.named_modules()
        if "forward" in vars(module) or any(getattr(module, kind) for kind in hooks)
    ]


class Spy:
    """Keeps what a block gets, what it gives, and what the next block is handed after any edit."""

    def __init__(self, model: Any, block: str = "output_blocks.1.1", following: str = "output_blocks.2.0") -> None:
        unet = model.get_model_object("diffusion_model")
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.edited: list[Tensor] = []
        self._block = unet.get_submodule(block)
        self._forward = self._block.forward
        # Not a hook of torch's, which would be called after the edit.
        self._block.forward = self._keep
        self._handle = unet.get_submodule(following).register_forward_pre_hook(self._keep_following)

    def _keep(self, block_input: Tensor, *args: Any) -> Tensor:
        output = self._forward(block_input, *args)
        self.inputs.append(block_input.detach().clone())
        self.outputs.append(output.detach().clone())
        return output

    def _keep_following(self, _module: Any, inputs: tuple) -> None:
        channels = self.outputs[-1].shape[1]
        self.edited.append(inputs[0][:, :channels].detach().clone())  # the rest is the skip connection

    def __enter__(self) -> Spy:
        return self

    def __exit__(self, *_: object) -> None:
        del self._block.forward
        self._handle.remove()
