"""Where tokens to train on come from, and the bounded buffer through which they stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import SaeuronError

HELD_OUT = 1 << 40
"""The first of the pictures that only figures are made of, where pictures are drawn without end."""


class Activations(Protocol):
    """What one model's blocks computed, or will compute when asked, while it drew pictures."""

    @property
    def base_model(self) -> str: ...

    @property
    def kind(self) -> str:
        """What is read, ``update`` or ``output``."""

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise level of each step."""

    @property
    def widths(self) -> Mapping[str, int]:
        """Hookpoint -> d."""

    @property
    def pictures(self) -> int | None:
        """How many there are; None where they are drawn without end."""

    @property
    def source(self) -> Mapping[str, Any]:
        """JSON values by which others are told from them, as far as they are known and are not in the rest."""

    def label(self, picture: int) -> str:
        """What is in a picture; empty where that is not known."""

    def read(self, pictures: Sequence[int]) -> dict[str, Tensor]:
        """Hookpoint -> tokens float16 [len(pictures), s, t, d]. The same list always gives the same."""


@dataclass(frozen=True)
class Stored:
    """Activations that are in memory already."""

    base_model: str
    kind: str
    sigmas: tuple[float, ...]
    tokens: Mapping[str, Tensor]
    """Hookpoint -> [pictures, s, t, d]."""
    labels: Sequence[str] = ()

    @property
    def widths(self) -> Mapping[str, int]:
        return {name: tokens.shape[-1] for name, tokens in self.tokens.items()}

    @property
    def pictures(self) -> int | None:
        return len(next(iter(self.tokens.values())))

    @property
    def source(self) -> Mapping[str, Any]:
        return {}

    def label(self, picture: int) -> str:
        return self.labels[picture] if self.labels else ""

    def read(self, pictures: Sequence[int]) -> dict[str, Tensor]:
        return {name: tokens[torch.as_tensor(pictures)] for name, tokens in self.tokens.items()}


@dataclass(frozen=True)
class Split:
    """Pictures to train on, of which `count` is None where there is no end, and pictures to make figures of."""

    count: int | None
    held_out: Sequence[int]


def width_of(activations: Activations, hookpoint: str) -> int:
    """Of the tokens of `hookpoint`. Errors: `SaeuronError` if there are none."""
    if hookpoint not in activations.widths:
        raise SaeuronError(
            f"There are no activations of {hookpoint}; there are those of {', '.join(activations.widths)}."
        )
    return activations.widths[hookpoint]


def split(activations: Activations, held_out: int) -> Split:
    """The last `held_out` pictures are set aside. Errors: `SaeuronError` if nothing is left."""
    if activations.pictures is None:
        return Split(None, range(HELD_OUT, HELD_OUT + held_out))
    left = activations.pictures - held_out
    if left < 1:
        raise SaeuronError(
            f"There are {activations.pictures} pictures, and {held_out} of them are for the figures: none is left to "
            "train on. Record more pictures, or hold out fewer."
        )
    return Split(left, range(left, activations.pictures))


class Buffer:
    """Batches of tokens, every step's in equal parts, shuffled over the pictures of a round.

    A round is `pictures` pictures; while training uses one the next one is read, so that two are in memory. Which
    tokens a batch has follows from the seed and its number alone: after a kill the round is read again.
    """

    def __init__(
        self, activations: Activations, count: int | None, pictures: int, batch: int, seed: int, prefetch: bool = True
    ) -> None:
        """`count`: as `Split` has it. Of hookpoints with different numbers of tokens those with more give a part."""
        self._activations, self._count, self._seed, self._batch = activations, count, seed, batch
        self._pictures = pictures if count is None else min(pictures, count)
        self._prefetch = prefetch
        self.first_round: dict[str, Tensor] = self._read(0)
        """Hookpoint -> [pictures, s, t, d]; empty once `batches` has come to the second one."""
        self._of_picture = min(tokens.shape[2] for tokens in self.first_round.values())
        self.batches_a_round = self._pictures * self._of_picture * len(activations.sigmas) // batch
        if not self.batches_a_round:
            raise SaeuronError(
                f"A round of {self._pictures} pictures holds fewer tokens than one batch of {batch}. Give more "
                "pictures, or a smaller batch."
            )

    def batches(self, first: int, steps: int) -> Iterator[dict[str, Tensor]]:
        """Hookpoint -> tokens [batch, d], of batches number `first` to `steps`."""
        rounds = range(first // self.batches_a_round, -(-steps // self.batches_a_round))
        with ThreadPoolExecutor(1) as pool:
            following = None
            for number in rounds:
                tokens = self._take(number) if following is None else following.result()
                ahead = self._prefetch and number + 1 in rounds
                following = pool.submit(self._take, number + 1) if ahead else None
                orders = {name: self._order(number, own) for name, own in tokens.items()}
                for place in range(self.batches_a_round):
                    if first <= number * self.batches_a_round + place < steps:
                        at = slice(place * self._batch, (place + 1) * self._batch)
                        yield {name: own.flatten(0, 2)[orders[name][at]] for name, own in tokens.items()}

    def _take(self, number: int) -> dict[str, Tensor]:
        first, self.first_round = self.first_round, {}
        return first if number == 0 and first else self._read(number)

    def _read(self, number: int) -> dict[str, Tensor]:
        places = range(number * self._pictures, (number + 1) * self._pictures)
        return self._activations.read([self._picture(place) for place in places])

    def _picture(self, place: int) -> int:
        """The picture at a place of an endless row in which all come in one order, then all in another, and so on."""
        if self._count is None:
            return place
        epoch, place = divmod(place, self._count)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return int(torch.randperm(self._count, generator=generator)[place])

    def _order(self, number: int, tokens: Tensor) -> Tensor:
        """Places in the flattened [pictures, s, t, d]: one token of each step in turn."""
        pictures, steps, of_picture, _ = tokens.shape
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        kept = pictures * self._of_picture
        columns = []
        for step in range(steps):
            shuffled = torch.randperm(pictures * of_picture, generator=generator)[:kept]
            picture, token = shuffled // of_picture, shuffled % of_picture
            columns.append((picture * steps + step) * of_picture + token)
        return torch.stack(columns, 1).flatten().to(tokens.device)
