"""Encoded prompts: made in one go before anything is drawn, and put together for a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...saeuron.errors import SaeuronError

ENCODED_AT_ONCE = 512
"""Prompts whose encodings are held at a time. One of SDXL's takes 0.6 MB."""

Conditioning = list[list[Any]]
"""The host's CONDITIONING, [[text, options], ...]. A text encoder with a schedule gives several entries a prompt."""


def check_clip(clip: Any) -> None:
    """Errors: `SaeuronError` if there is none: checkpoints without a text encoder give None."""
    if clip is None:
        raise SaeuronError("The CLIP input holds nothing; connect the CLIP of a checkpoint that has a text encoder.")


def text_of(conditioning: Any, name: str, model: Any) -> Tensor:
    """The encoded text [1, s, c] of a CONDITIONING that is a single prompt, for `model`, the host's MODEL.

    Errors: `SaeuronError` for several prompts, and for a text of another width than the model reads.
    """
    prompts = sum(len(text) for text, _ in conditioning)
    if prompts != 1:
        raise SaeuronError(f"The input {name} holds {prompts} prompts; connect a CLIP Text Encode with one short text.")
    text: Tensor = conditioning[0][0]
    if text.shape[-1] != (width := model.model.model_config.unet_config["context_dim"]):
        raise SaeuronError(
            f"The text at the input {name} is {text.shape[-1]} wide, but the MODEL reads texts of {width}: it was "
            "encoded for another kind of model. Use the CLIP that belongs to this MODEL."
        )
    return text


class EncodedPrompts:
    """The CONDITIONING of prompts, as CLIPTextEncode makes it, on the CPU."""

    def __init__(self, clip: Any) -> None:
        check_clip(clip)
        self._clip = clip
        self._held: dict[str, Conditioning] = {}

    def encode(self, prompts: Iterable[str]) -> None:
        """Encode those of `prompts` that are not held already, one after the other.

        All of them are held afterwards; earlier ones make room where there would be more than `ENCODED_AT_ONCE`.
        """
        import comfy.model_management
        import comfy.utils

        wanted = list(dict.fromkeys(prompts))
        new = [prompt for prompt in wanted if prompt not in self._held]
        if not new:
            return
        if len(self._held) + len(new) > ENCODED_AT_ONCE:
            self._held = {prompt: self._held[prompt] for prompt in wanted if prompt in self._held}
        bar = comfy.utils.ProgressBar(len(new))
        for prompt in new:
            comfy.model_management.throw_exception_if_processing_interrupted()
            encoded = self._clip.encode_from_tokens_scheduled(self._clip.tokenize(prompt))
            self._held[prompt] = _moved(encoded, torch.device("cpu"))
            bar.update(1)

    def __getitem__(self, prompt: str) -> Conditioning:
        """Of a prompt that is held."""
        return self._held[prompt]


def can_share_batch(a: Conditioning, b: Conditioning) -> bool:
    """Whether one CONDITIONING can say both: as many entries, and all but the texts themselves the same."""
    return a is b or (len(a) == len(b) and all(map(_differ_in_text_only, a, b)))


def _differ_in_text_only(entry: Sequence[Any], other: Sequence[Any]) -> bool:
    (text, options), (other_text, other_options) = entry, other
    return (
        _can_be_stacked(text, other_text)
        and options.keys() == other_options.keys()
        and all(
            (name == "pooled_output" and _can_be_stacked(value, other_options[name]))
            or _is_same(value, other_options[name])
            for name, value in options.items()
        )
    )


def _can_be_stacked(a: Any, b: Any) -> bool:
    """One row each, of the same shape."""
    return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.shape[:1] == (1,)


def _is_same(a: Any, b: Any) -> bool:
    # Comparing anything else may be wrong or expensive: such prompts are drawn one by one.
    return a is b or (type(a) is type(b) and isinstance(a, bool | int | float | str) and a == b)


def conditioning_of_batch(conditionings: Sequence[Conditioning], device: torch.device) -> Conditioning:
    """One CONDITIONING on `device` for pictures that each have one of `conditionings`, which can share a batch.

    A text of as many rows as the latent gives each picture its own; one of a single row goes for all.
    """
    first = conditionings[0]
    if all(conditioning is first for conditioning in conditionings):
        return _moved(first, device)
    return _moved([_stacked(entries) for entries in zip(*conditionings, strict=True)], device)


def _stacked(entries: Sequence[Sequence[Any]]) -> list[Any]:
    """The entries that stand at one place in several conditionings, as one."""
    options = dict(entries[0][1])
    if options.get("pooled_output") is not None:
        options["pooled_output"] = torch.cat([own["pooled_output"] for _, own in entries])
    return [torch.cat([text for text, _ in entries]), options]


def _moved(conditioning: Sequence[Sequence[Any]], device: torch.device) -> Conditioning:
    def move(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    return [[move(text), {name: move(value) for name, value in options.items()}] for text, options in conditioning]
