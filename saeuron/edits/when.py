"""When an edit acts, and on which half of a guided batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import SaeuronError
from .call import NEGATIVE, POSITIVE, Call

HALVES = ("both", POSITIVE, NEGATIVE)


@dataclass(frozen=True)
class When:
    """Noise levels from `sigma_start` down to `sigma_end`, both included, and the half of a guided batch.

    At cfg 1 there is only the positive half. Conditionings that are neither positive nor negative belong to ``both``.
    """

    sigma_start: float = float("inf")
    sigma_end: float = 0.0
    halves: str = "both"

    def __post_init__(self) -> None:
        if self.halves not in HALVES:
            raise SaeuronError(f"Unknown halves {self.halves!r}; choose one of {', '.join(HALVES)}.")

    def acts_at(self, sigma: float) -> bool:
        return self.sigma_end <= sigma <= self.sigma_start

    def rows(self, call: Call) -> Sequence[int]:
        """The rows of `call` that are edited. Errors: `SaeuronError` if that needs roles that are not known."""
        if not self.acts_at(call.sigma):
            return ()
        everything = range(len(call.rows))
        if self.halves == "both":
            return everything
        return [row for row in everything if call.role(row) == self.halves]


ALWAYS = When()
