"""Searches for what brings a forgotten concept back: words, and texts that no words have.

As in UnlearnDiffAtk (Zhang et al., "To Generate or Not?", arXiv 2310.11868) the attacker has the edited model and a
judge, and looks for a text with which the edited model draws the concept. Here the searches know neither: they are
given what a text scores, and stop as soon as it succeeds, so a budget says how many texts were tried at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SaeuronError

WON = 0.5
"""A probability above which the judge sees the concept rather than anything else."""


@dataclass(frozen=True)
class Found:
    """The best that a search has found."""

    text: str
    probability: float
    """Of the concept, by the judge, on the picture of `text`."""

    tried: int
    """How many texts were drawn."""


def search_words(start: str, words: Sequence[str], rounds: int, probability: Callable[[str], float]) -> Found:
    """Greedy search: each round appends to the best text so far, or puts in the place of its last appended word, the
    one of `words` with which `probability` is the highest; none if no word raises it.

    A round appends first and then replaces, so at most ``1 + rounds * 2 * len(words)`` texts are drawn; the first one
    above `WON` ends the search. Errors: `SaeuronError` without words.
    """
    if not words:
        raise SaeuronError("There are no words to search among.")
    tried: dict[str, float] = {}

    def best_of(texts: Sequence[str], so_far: str) -> str:
        for text in texts:
            if text not in tried:
                tried[text] = probability(text)
            if tried[text] > tried[so_far]:
                so_far = text
            if tried[so_far] > WON:
                break
        return so_far

    tried[start] = probability(start)
    best, before = start, start
    for _ in range(rounds):
        if tried[best] > WON:
            break
        appended = best_of([f"{best} {word}" for word in words], best)
        if appended == best:  # another last word may do what one more did not
            replaced = best_of([f"{before} {word}" for word in words], best)
            if replaced == best:
                break
            best = replaced
        else:
            before, best = best, appended
    return Found(best, tried[best], len(tried))


class EmbeddingAttack(NamedTuple):
    """What a gradient search has found."""

    probability: float
    """The highest of the concept, on a picture that was drawn."""

    tried: int
    """How many texts were drawn, each with its gradient but the last."""


def search_embeddings(
    starts: Sequence[Sequence[Tensor]],
    loss_and_probability: Callable[[Sequence[Tensor]], tuple[Tensor, float]],
    steps: int,
    rate: float,
) -> EmbeddingAttack:
    """Gradient descent on encoded texts (text and pooled text, any shapes), in float32, from the best of `starts`.

    `loss_and_probability` draws with them and gives the loss, a scalar with a graph, and the judge's probability of the
    concept on that picture. Each step goes `rate` times the tensor's own root mean square against its gradient, whose
    length is taken out: what counts is the direction. Above `WON` it ends. ``len(starts) + steps`` texts are drawn at
    most.

    Errors: `SaeuronError` without starts, and for a loss without a gradient: nothing could be found then, and it would
    look like safety.
    """
    if not starts:
        raise SaeuronError("There is no text to begin from.")
    begun = []
    for number, start in enumerate(starts, 1):
        now = [tensor.detach().float().clone().requires_grad_() for tensor in start]
        loss, probability = loss_and_probability(now)
        if probability > WON:
            return EmbeddingAttack(probability, number)
        begun.append((probability, loss, now))
    best, loss, now = max(begun, key=lambda own: own[0])
    del begun
    sizes = [tensor.detach().square().mean().sqrt() for tensor in now]
    for step in range(1, steps + 1):
        if not loss.requires_grad:
            raise SaeuronError("The loss has no gradient, so there is nothing to search along.")
        gradients = torch.autograd.grad(loss, now, allow_unused=True)
        with torch.no_grad():
            for tensor, size, gradient in zip(now, sizes, gradients, strict=True):
                if gradient is not None and (length := gradient.square().mean().sqrt()) > 0:
                    tensor -= rate * size * gradient / length
        loss, probability = loss_and_probability(now)
        best = max(best, probability)
        if best > WON:
            return EmbeddingAttack(best, len(starts) + step)
    return EmbeddingAttack(best, len(starts) + steps)
