"""How good an SAE is, on pictures that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..sae.figures import SAEFigures
from ..sae.model import SparseAutoencoder

ALWAYS = 0.99
TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class TrainingReport:
    unexplained: float
    """Of the variance of all tokens, around their mean over all steps: what the reconstruction leaves."""

    unexplained_by_step: tuple[float, ...]
    """The same of each step's tokens, around that step's mean."""

    unexplained_within_steps: float
    """Of all steps together, but each step's variance around its own mean: what `evaluation.fit` measures."""

    features_a_token: float

    dead: float
    """Share of features that fire on no token."""

    always_on: float
    """Share of features that fire in at least 99 % of the pictures."""

    auc: Mapping[str, float] = field(default_factory=dict)
    """Label -> how well one feature tells pictures with it from others (`detection`)."""

    loss_recovered: float | None = None
    """Where it was asked for (`loss_recovered`)."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def figures(self, model: str) -> SAEFigures:
        """What the SAE's file is to say of it; `model` is what the pictures are of."""
        return SAEFigures(self.unexplained_within_steps, self.features_a_token, self.dead, model)


@torch.no_grad()
def evaluate(sae: SparseAutoencoder, tokens: Tensor, labels: Sequence[str] = ()) -> TrainingReport:
    """Of tokens [pictures, s, t, d] of any float dtype, with a label for each picture, or none; on the SAE's device."""
    pictures, steps, of_picture, _ = tokens.shape
    device = sae.decoder_bias.device
    error = torch.zeros(steps, dtype=torch.float64)
    own, between = torch.zeros_like(error), torch.zeros_like(error)
    means = torch.stack([step.double().mean((0, 1)) for step in tokens.unbind(1)])
    active = 0
    activity = torch.zeros(pictures, sae.n)
    at_once = max(1, TOKENS_AT_ONCE // of_picture)
    for step in range(steps):
        between[step] = (means[step] - means.mean(0)).square().sum() * pictures * of_picture
        for first in range(0, pictures, at_once):
            part = tokens[first : first + at_once, step].to(device).float()
            codes = sae.encode(part)
            error[step] += (part - sae.decode(codes)).double().square().sum().cpu()
            own[step] += (part.double() - means[step].to(device)).square().sum().cpu()
            active += int((codes.values > 0).sum())
            flat = codes.indices.flatten(1).cpu()
            activity[first : first + at_once].scatter_add_(1, flat, codes.values.flatten(1).cpu())
    fires = activity > 0
    return TrainingReport(
        float(error.sum() / (own + between).sum()),
        tuple((error / own).tolist()),
        float(error.sum() / own.sum()),
        active / (pictures * steps * of_picture),
        float((~fires.any(0)).double().mean()),
        float((fires.double().mean(0) >= ALWAYS).double().mean()),
        detection(activity, labels),
    )


def detection(activity: Tensor, labels: Sequence[str]) -> dict[str, float]:
    """Label -> area under the ROC curve of the one feature that tells its pictures best from the others.

    `activity` [pictures, n] is the sum of each feature over a picture. The feature is chosen on every second picture of
    each label, and the area measured on the rest, so that it is not chosen by chance. Labels with fewer than two
    pictures, and empty ones, are left out.
    """
    by_label: dict[str, list[int]] = {}
    for picture, label in enumerate(labels):
        by_label.setdefault(label, []).append(picture)
    halves = [[place for own in by_label.values() for place in own[half::2]] for half in (0, 1)]
    found = {}
    for label, own in by_label.items():
        others = [[place for place in half if place not in own] for half in halves]
        if label and len(own) > 1 and all(others):
            best = _area(activity[own[0::2]], activity[others[0]]).argmax()
            found[label] = float(_area(activity[own[1::2]][:, best, None], activity[others[1]][:, best, None]))
    return found


def _area(positive: Tensor, negative: Tensor) -> Tensor:
    """[m]: how often a row of `positive` [p, m] is above one of `negative` [q, m], ties counted half."""
    return torch.stack([((row > negative).double() + 0.5 * (row == negative)).mean(0) for row in positive]).mean(0)


def loss_recovered(plain: float, reconstructed: float, without: float) -> float:
    """How much of the harm that leaving a block's tokens out does to the diffusion loss their reconstruction undoes.

    1: it is as good as the tokens themselves. `without` is the loss with the same constant in place of every token.
    """
    return (without - reconstructed) / (without - plain)
