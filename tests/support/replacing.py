"""Replace Concept on the miniature in small pictures: 64 pixels, 4 x 4 tokens where the SAE reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tools.pack import pack

SIDE = 64
CAT, TOWER = "a cat in twemoji style", "a tower"
HOOKPOINT, ELSEWHERE = "up_blocks.1.attentions.0", "up_blocks.0.attentions.1"

Replacer = Callable[..., Any]
"""MODEL and options of the node -> MODEL on which cats become dogs."""


def encode(miniature: tuple, *prompts: str) -> list[Any]:
    """CONDITIONING of a batch of prompts, one for each picture."""
    clip = miniature[1]
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0] for prompt in prompts]
    pooled = torch.cat([options["pooled_output"] for _, options in encoded])
    return [[torch.cat([text for text, _ in encoded]), {**encoded[0][1], "pooled_output": pooled}]]


class Draw(NamedTuple):
    """How KSampler is set; `batch` pictures of `height` x `width` pixels."""

    sampler: str = "euler"
    scheduler: str = "sgm_uniform"
    steps: int = 3
    cfg: float = 1.0
    denoise: float = 1.0
    batch: int = 1
    width: int = SIDE
    height: int = SIDE
    inpaint: bool = False
    """The left half is kept."""


ONCE, TWO = Draw(), Draw(batch=2)


def draw(miniature: tuple, model: Any, positive: Any, how: Draw = ONCE, negative: Any = None) -> Tensor:
    """Latents as the host's KSampler makes them; `positive` and `negative` are CONDITIONINGs or prompts."""
    from nodes import KSampler

    texts = [encode(miniature, text) if isinstance(text, str) else text for text in (positive, negative or "")]
    shape = (how.batch, 4, how.height // 8, how.width // 8)
    latent = {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(8))}
    if how.inpaint:
        latent["noise_mask"] = torch.ones(1, how.height, how.width)
        latent["noise_mask"][..., : how.width // 2] = 0
    settings = (5, how.steps, how.cfg, how.sampler, how.scheduler, *texts, latent, how.denoise)
    drawn: Tensor = KSampler().sample(model, *settings)[0]["samples"]
    return drawn


def changed(before: Tensor, after: Tensor) -> list[bool]:
    """For each picture, whether a bit of it differs. What differs is finite."""
    assert torch.isfinite(after).all()
    return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]


def decided(model: Any, number: int = -1) -> dict[Any, Tensor | None]:
    """Part -> mask of the last run, None where the gate was closed; of the replacement of this number on `model`."""
    replacements = pack("nodes.host.model").attached(model).replacements
    masks: dict[Any, Tensor | None] = pack("nodes.host.replacement_masks").masks_of_last_run(replacements[number])
    return masks


def gates(model: Any, number: int = -1) -> list[bool]:
    """Whether each part's gate was open, by conditioning and picture."""
    masks = decided(model, number)
    return [masks[part] is not None for part in sorted(masks, key=lambda part: (part[:2], part.area or ()))]


class Passes(NamedTuple):
    begun: list[int]
    finished: list[int]


def counting(model: Any) -> tuple[Any, Passes]:
    """A clone of `model`, and where the rows of each pass through its UNet are noted."""
    from comfy.patcher_extension import WrappersMP

    passes = Passes([], [])

    def wrapper(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        passes.begun.append(len(x))
        result = executor(x, *args, **kwargs)
        passes.finished.append(len(x))
        return result

    counted = model.clone()
    counted.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "counting", wrapper)
    return counted, passes


class Replacement(NamedTuple):
    """What one layer was given in one call."""

    attn: Any
    x: Tensor
    rows: set[int]
    instead: Any
    concept: Any


@contextmanager
def watched_replacements() -> Iterator[list[Replacement]]:
    """What `replace_tokens` is called with on the host."""
    replacing: Any = pack("nodes.host.replacing")
    original, seen = replacing.replace_tokens, []

    def watch(attn: Any, x: Tensor, output: Tensor, touched: Any, instead: Any, concept: Any) -> Tensor:
        rows = set((touched.places // x.shape[1]).tolist())
        seen.append(Replacement(attn, x, rows, instead, concept))
        replaced: Tensor = original(attn, x, output, touched, instead, concept)
        return replaced

    replacing.replace_tokens = watch
    try:
        yield seen
    finally:
        replacing.replace_tokens = original
