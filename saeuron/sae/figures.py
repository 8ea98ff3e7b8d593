"""How an SAE did on the model that it was trained on, as its file says: what Check SAE shows beside its own figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any, TypeGuard

from ..errors import SaeuronError
from ..json_text import format_json, parse_json

FIELD = "figures"
"""Of a file's metadata, where they are JSON."""

MAX_MODEL = 200
"""Characters of a model's name."""


@dataclass(frozen=True)
class SAEFigures:
    """Measured on pictures that the SAE was not trained on."""

    unexplained: float
    """Fraction of variance unexplained over all steps, each step's variance about its own mean, as `Fit` has it."""

    features_a_token: float

    dead: float
    """Share of features that never fired."""

    model: str
    """What they were measured on."""

    def describe(self) -> str:
        return (
            f"unexplained variance {self.unexplained:.1%}, {self.features_a_token:.1f} features a token, "
            f"{self.dead:.1%} never fired"
        )

    def as_text(self) -> str:
        """JSON, for a file's metadata."""
        fields = asdict(self)
        return format_json({name: round(value, 5) if isinstance(value, float) else value
                            for name, value in fields.items()})  # fmt: skip


def read_figures(metadata: Mapping[str, str], source: str) -> SAEFigures | None:
    """Those in a file's `metadata`; None if it has none. `source` names the file in messages.

    Errors: `SaeuronError` for figures that can't be.
    """
    if FIELD not in metadata:
        return None
    found = parse_json(metadata[FIELD], f"{source}: {FIELD}")
    fields: dict[str, Any] = found if isinstance(found, dict) else {}
    unexplained, features, dead, model = (
        fields.get(name) for name in ("unexplained", "features_a_token", "dead", "model")
    )
    if not (
        _is_number(unexplained, math.inf)
        and _is_number(features, math.inf)
        and _is_number(dead, 1)
        and isinstance(model, str)
        and len(model) <= MAX_MODEL
        and model.isprintable()
    ):
        raise SaeuronError(
            f"{source} has figures that can't be: {brief(found)}. It is damaged; get it from its source again."
        )
    return SAEFigures(unexplained, features, dead, model)


def _is_number(value: object, most: float) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most and value < math.inf
