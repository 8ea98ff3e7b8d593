"""The benchmark's realism judge: what it learns from, and its own error.

It learns from un-ablated pictures of every wording that features are found with, not only of those that name a style:
a judge that has seen those alone rejects 15 % of good pictures, three times what its threshold means to. Plain
backgrounds are among the good pictures: a picture from which something is gone may be empty.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from saeuron.evaluation.benchmark import DOMAINS
from saeuron.evaluation.metrics import bootstrap
from saeuron.shots import Shot
from tools.pack import pack

from .plan import Scale, real_shots, unseen_shots
from .treatment import OFF, Treatment

BACKGROUND_SEED = 5
SIZE = 192


class Draws(Protocol):
    """What is needed of a studio."""

    scale: Scale

    def draw(self, shots: Sequence[Shot], treatment: Treatment) -> np.ndarray: ...

    def part(self, name: str) -> Any: ...


@dataclass
class RealismError:
    """How often the judge is wrong, on pictures of wordings and noise that it knows nothing of."""

    false_rejections: float
    interval: tuple[float, float]
    pictures: int
    empty_rejected: float
    """Share of plain backgrounds, others than those that it learnt, that it rejects."""

    caught: dict[str, float]
    """Kind of corruption -> share of spoilt copies that it rejects."""


def realism_judge(studio: Draws) -> Any:
    """A `RealismJudge` with all that the judges of objects, of styles and CLIP see in a picture."""
    judges = [studio.part(domain) for domain in DOMAINS]
    embed = studio.part("embed")

    def features(pictures: np.ndarray) -> np.ndarray:
        return np.concatenate([*(judge.features(pictures) for judge in judges), embed(pictures)], axis=1)

    real = [studio.draw(real_shots(studio.scale), OFF), backgrounds(studio, studio.scale.backgrounds, BACKGROUND_SEED)]
    return pack("saeuron.evaluation.artifacts").RealismJudge(features, np.concatenate(real))


def error_of(judge: Any, studio: Draws) -> RealismError:
    """Measured on un-ablated pictures of held-out wordings, and on other backgrounds."""
    good = studio.draw(unseen_shots(studio.scale), OFF)
    empty = backgrounds(studio, studio.scale.backgrounds, BACKGROUND_SEED + 1)
    interval = bootstrap(judge.rejects(good))
    return RealismError(
        round(interval.mean, 4),
        (round(interval.low, 4), round(interval.high, 4)),
        len(good),
        round(judge.rejected_share(empty), 4),
        {kind: round(share, 4) for kind, share in judge.caught_of(good).items()},
    )


def backgrounds(studio: Draws, count: int, seed: int) -> np.ndarray:
    """Plain pastel gradients as the miniature's autoencoder gives them back, uint8 [count, H, W, 3]."""
    _, _, vae = studio.part("miniature")
    library = pack("nodes.host.pictures")
    plain = library.as_image(np.stack([_gradient(np.random.default_rng([seed, number])) for number in range(count)]))
    pictures: np.ndarray = library.to_pixels(vae.decode(vae.encode(plain)))
    return pictures


def _gradient(rng: np.random.Generator) -> np.ndarray:
    """From one shade of a hue to another, in any direction; uint8 [SIZE, SIZE, 3]."""
    hue = rng.uniform()
    shades = [((hue + rng.uniform(-0.03, 0.03)) % 1, rng.uniform(0.12, 0.4), rng.uniform(0.85, 1)) for _ in range(2)]
    ends = [np.array(colorsys.hsv_to_rgb(*shade)) for shade in shades]
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) - 0.5
    ramp = np.clip((columns * np.cos(angle) + rows * np.sin(angle)) / np.sqrt(2) + 0.5, 0, 1)[..., None]
    return (255 * (ends[0] * (1 - ramp) + ends[1] * ramp)).round().astype(np.uint8)
