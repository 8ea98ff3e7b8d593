"""What an edit is told about one call of the UNet, by the host or by the reference pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import SaeuronError

POSITIVE, NEGATIVE, OTHER = "positive", "negative", "other"
"""The roles of a conditioning. The third is one that is neither, like the empty prompt of Perp-Neg."""


class Area(NamedTuple):
    """The part of a picture that a call is about, all in latent pixels."""

    top: int
    left: int
    height: int
    width: int
    whole: tuple[int, int]
    """Height and width of the picture that it is a part of."""


class Row(NamedTuple):
    """One row of the batch. None stands for what is not known."""

    role: str | None = None
    """`POSITIVE`, `NEGATIVE` or `OTHER`."""

    picture: int | None = None
    """Which picture of the run's batch, from 0."""

    area: Area | None = None
    """None where `area_known` says that the row is about the whole picture."""

    area_known: bool = False

    conditioning: int | None = None
    """Which of the run's conditionings, from 0: several may be about one picture."""


@dataclass(frozen=True)
class Call:
    """One call of the UNet.

    `unknown` says why something about the rows is not known, for the person at the graph. Whoever needs what is not
    known gets an error with it; edits that treat all rows alike never ask.
    """

    sigma: float
    """The noise level."""

    step: int
    """Of the run's schedule, from 0."""

    rows: tuple[Row, ...]
    unknown: str = ""

    def role(self, row: int) -> str:
        role = self.rows[row].role
        if role is None:
            raise self._error("which rows of the batch belong to the positive prompt")
        return role

    def picture(self, row: int) -> int:
        picture = self.rows[row].picture
        if picture is None:
            raise self._error("which picture of the batch a row belongs to")
        return picture

    def area(self, row: int) -> Area | None:
        """None for the whole picture."""
        if not self.rows[row].area_known:
            raise self._error("which part of the picture it is about")
        return self.rows[row].area

    def conditioning(self, row: int) -> int:
        conditioning = self.rows[row].conditioning
        if conditioning is None:
            raise self._error("which prompt a row of the batch belongs to")
        return conditioning

    def _error(self, what: str) -> SaeuronError:
        return SaeuronError(
            f"This call of the UNet does not tell {what}: {self.unknown or 'nothing was said about it'}. "
            "Remove that node from the graph; or, on Unlearn and Steer Features, set halves to both and leave the mask "
            "out."
        )
