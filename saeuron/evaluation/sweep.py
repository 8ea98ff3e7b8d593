"""What a multiplier removes and what it costs: one concept, several multipliers, the same prompts and noise for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..edits.intervention import Intervention
from ..errors import SaeuronError
from ..prompts import split_labels
from ..shots import Painter, Shot, shots_of
from .metrics import accuracy, cosine_similarity, unlearning_accuracy

Classify = Callable[[np.ndarray], Sequence[str]]
"""Labels of pictures uint8 [B, H, W, 3]."""

Embed = Callable[[np.ndarray], np.ndarray]
"""Image embeddings float [B, e] of pictures uint8 [B, H, W, 3]."""


@dataclass(frozen=True)
class SweepPoint:
    """The figures at one multiplier; what could not be measured is None."""

    multiplier: float | None
    """None: the model as it is, the baseline of every other point."""

    unlearning_accuracy: float | None = None
    """UA, `metrics.unlearning_accuracy` on the concept's pictures."""

    retained_accuracy: float | None = None
    """Share of the other pictures on which the classifier sees their label."""

    clip_similarity: float | None = None
    """Mean cosine of the CLIP embeddings of the concept's pictures before and after, same prompt and noise."""

    clip_similarity_others: float | None = None
    """The same on the other pictures."""


@dataclass(frozen=True)
class Subjects:
    """What is drawn at every multiplier: shots that ask for the concept, and others with the label each should have."""

    concept: Sequence[Shot]
    others: Sequence[Shot] = ()
    labels: Sequence[str] = ()
    """Of `others`; empty where there is no classifier."""

    def __post_init__(self) -> None:
        if not self.concept:
            raise SaeuronError("There are no prompts that ask for the concept. Write at least one.")
        if self.labels and len(self.labels) != len(self.others):
            raise SaeuronError(f"{len(self.others)} other pictures need as many labels, found {len(self.labels)}.")


def subjects_of(
    prompts: Sequence[str], others: Sequence[str], seeds: int, first_seed: int, label: Callable[[str], str] | None
) -> Subjects:
    """`seeds` pictures of each of `prompts`, which ask for the concept, and of `others`, lines ``label | prompt``.

    `label` gives the classifier's own word for a label; None where there is no classifier, and none is needed.
    Errors: `SaeuronError` for a missing label, or one that the classifier does not know.
    """
    concept = shots_of(prompts, seeds, first_seed)
    labels, texts = split_labels(list(others), label is not None)
    other_shots = shots_of(texts, seeds, first_seed + len(concept))
    return Subjects(concept, other_shots, [label(name) for name in labels for _ in range(seeds)] if label else [])


@dataclass(frozen=True)
class Pictures:
    """uint8 [count, H, W, 3] each; `others` is None where there are none."""

    concept: np.ndarray
    others: np.ndarray | None


class Sweep:
    """Draws and measures point after point; what it has so far can be read at any time."""

    def __init__(
        self,
        painter: Painter,
        subjects: Subjects,
        intervention: Intervention,
        classify: Classify | None = None,
        concept_label: str = "",
        embed: Embed | None = None,
    ) -> None:
        """`intervention` is drawn with each multiplier in turn; `classify` calls the concept `concept_label`."""
        self._painter, self._subjects, self._intervention = painter, subjects, intervention
        self._classify, self._label, self._embed = classify, concept_label, embed
        self.points: list[SweepPoint] = []
        self.pictures: list[Pictures] = []

    def run(self, multipliers: Sequence[float]) -> Iterator[SweepPoint]:
        """The baseline first, then a point for each of `multipliers`, as they come."""
        for multiplier in (None, *multipliers):
            chosen = () if multiplier is None else (replace(self._intervention, multiplier=multiplier),)
            pictures = self._draw(chosen)
            self.pictures.append(pictures)
            self.points.append(self._measure(multiplier, pictures))
            yield self.points[-1]

    def _draw(self, interventions: Sequence[Intervention]) -> Pictures:
        concept, others = self._subjects.concept, self._subjects.others
        drawn = self._painter.draw([*concept, *others], interventions)
        return Pictures(drawn[: len(concept)], drawn[len(concept) :] if others else None)

    def _measure(self, multiplier: float | None, pictures: Pictures) -> SweepPoint:
        point = SweepPoint(multiplier)
        if self._classify is not None:
            point = replace(
                point, unlearning_accuracy=unlearning_accuracy(self._classify(pictures.concept), self._label)
            )
            if pictures.others is not None and self._subjects.labels:
                found = self._classify(pictures.others)
                point = replace(point, retained_accuracy=accuracy(found, self._subjects.labels))
        if self._embed is not None and multiplier is not None:
            before = self.pictures[0]
            point = replace(point, clip_similarity=self._similarity(before.concept, pictures.concept))
            if before.others is not None and pictures.others is not None:
                point = replace(point, clip_similarity_others=self._similarity(before.others, pictures.others))
        return point

    def _similarity(self, before: np.ndarray, after: np.ndarray) -> float:
        assert self._embed is not None
        return float(np.mean(cosine_similarity(self._embed(before), self._embed(after))))


def sweep_rows(points: Sequence[SweepPoint]) -> list[dict[str, float | None]]:
    """The points as JSON values."""
    return [asdict(point) for point in points]


def sweep_table(points: Sequence[SweepPoint]) -> str:
    """The points as text. Unknown figures are shown as a dash."""
    lines = ["multiplier       UA   others recognised   CLIP similarity   CLIP similarity, others"]
    for point in points:
        name = "off" if point.multiplier is None else f"{point.multiplier:g}"
        lines.append(
            f"{name:>10}  {_percent(point.unlearning_accuracy):>7}  {_percent(point.retained_accuracy):>18}"
            f"  {_number(point.clip_similarity):>16}  {_number(point.clip_similarity_others):>24}"
        )
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
