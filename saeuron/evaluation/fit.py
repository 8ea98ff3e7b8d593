"""Whether an SAE fits a model: how much of what it reads there its reconstruction leaves unexplained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..finite import is_finite
from ..sae.figures import SAEFigures
from ..sae.model import KINDS, SparseAutoencoder, read_tokens
from ..schedule import nearest_step

FITS, PARTLY = 0.4, 0.8
"""Most unexplained variance of an SAE that fits, and of one that fits in part. An SAE that knows nothing has 1."""

ALWAYS = 0.99
"""Share of tokens from which a feature is said to be always on."""


@dataclass(frozen=True)
class StepFit:
    sigma: float
    unexplained: float
    """Fraction of variance unexplained: sum |x - x_hat|^2 / sum |x - mean(x)|^2, the mean over the step's tokens (Gao
    et al., arXiv 2406.04093, normalised MSE)."""

    features: float
    """Active features a token."""


@dataclass(frozen=True)
class Fit:
    """How an SAE does on tokens of one model."""

    kind: str
    """What it was given to read, ``update`` or ``output``."""

    steps: tuple[StepFit, ...]
    unexplained: float
    """Over all steps together; each step's variance is about its own mean."""

    other_kind: float
    """The same if it were given the other kind to read."""

    dead: float
    """Share of its features that never fired."""

    always_on: float
    """Share of its features that fired on at least `ALWAYS` of the tokens."""

    tokens: int

    def verdict(self) -> str:
        """One sentence for the person."""
        other = KINDS[1 - KINDS.index(self.kind)]
        if self.other_kind < PARTLY and self.other_kind < self.unexplained / 2:
            return (
                f"It reads the block's {self.kind}, but was trained on the {other}: choose {other} as kind on Load SAE."
            )
        if self.unexplained > 1:
            return "It does not fit: it explains less than the mean would. Is it for another model or another block?"
        if self.unexplained > PARTLY:
            return "It does not fit: it explains next to nothing of what this model computes there."
        if self.unexplained > FITS:
            return "It fits in part: features may mean something else here than on the model it was trained on."
        return "It fits."

    def table(self, own: SAEFigures | None = None) -> str:
        """The figures as text, the verdict first; `own` is what the SAE had on the model that it was trained on."""
        lines = [
            self.verdict(),
            f"unexplained variance {self.unexplained:.1%} (if it read the {KINDS[1 - KINDS.index(self.kind)]}: "
            f"{self.other_kind:.1%}), on {self.tokens} tokens",
            f"features that never fired {self.dead:.1%}, that fired on nearly all tokens {self.always_on:.1%}",
            *([] if own is None else [f"on what it was trained on, {own.model}: {own.describe()}"]),
            "noise level   unexplained   features a token",
        ]
        return "\n".join(lines + [f"{s.sigma:11.4g}   {s.unexplained:11.1%}   {s.features:16.1f}" for s in self.steps])


@dataclass
class FitMeter:
    """Adds tokens up, in float64 and in memory that does not grow with them.

    `schedule` holds the noise level of each step.
    """

    sae: SparseAutoencoder
    kind: str
    schedule: Sequence[float]
    _sums: list[_Sums] = field(init=False)
    _other: list[_Sums] = field(init=False)
    _fired: Tensor = field(init=False)
    """int64 [n], on how many tokens."""

    def __post_init__(self) -> None:
        self._sums, self._other = ([_Sums() for _ in self.schedule] for _ in range(2))
        self._fired = torch.zeros(self.sae.n, dtype=torch.int64)

    def add(self, sigma: float, block_input: Tensor, block_output: Tensor) -> None:
        """What a block was given and what it gave at noise level `sigma`: [..., d] each, channels last.

        Errors: `SaeuronError` if they are not finite, of which no figure could be made.
        """
        step = nearest_step(self.schedule, sigma)
        for kind in KINDS:
            x = read_tokens(kind, block_input, block_output).flatten(0, -2)
            is_finite(x, x)  # or raises; a figure that is no number would pass every comparison of the verdict
            codes = self.sae.encode(x)
            own = kind == self.kind
            active = codes.indices[codes.values > 0].cpu()
            (self._sums if own else self._other)[step].add(x, self.sae.decode(codes), len(active))
            if own:
                self._fired += torch.bincount(active, minlength=self.sae.n)

    def fit(self) -> Fit:
        """Errors: `SaeuronError` if no tokens were added."""
        tokens = sum(sums.tokens for sums in self._sums)
        if not tokens:
            raise SaeuronError("Nothing was drawn, so there is nothing to say about the SAE.")
        steps = [
            StepFit(sigma, sums.error / sums.variance, sums.active / sums.tokens)
            for sigma, sums in zip(self.schedule, self._sums, strict=True)
            if sums.tokens and sums.variance
        ]
        return Fit(
            self.kind,
            tuple(steps),
            _pooled(self._sums),
            _pooled(self._other),
            float((self._fired == 0).double().mean()),
            float((self._fired >= ALWAYS * tokens).double().mean()),
            tokens,
        )


@dataclass
class _Sums:
    tokens: int = 0
    error: float = 0.0
    squares: float = 0.0
    active: int = 0
    total: Tensor | None = None
    """float64 [d]."""

    def add(self, x: Tensor, reconstruction: Tensor, active: int) -> None:
        x = x.double()
        self.tokens += len(x)
        self.error += float((x - reconstruction.double()).square().sum())
        self.squares += float(x.square().sum())
        self.active += active
        total = x.sum(0).cpu()
        self.total = total if self.total is None else self.total + total

    @property
    def variance(self) -> float:
        return 0.0 if self.total is None else self.squares - float(self.total.square().sum()) / self.tokens


def _pooled(sums: Sequence[_Sums]) -> float:
    variance = sum(each.variance for each in sums)
    return sum(each.error for each in sums) / variance if variance else 0.0
