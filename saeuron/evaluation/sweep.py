"""What a multiplier removes and what it costs: one concept, several multipliers, the same prompts and noise for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..edits.intervention import Intervention
from ..errors import SaeuronError
from ..prompts import split_labels
from ..shots import Pipeline, Shot, shots_of
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

    `label` is as in `split_labels`; None where there is no classifier: then `others` are nothing but prompts.
    Errors: `SaeuronError` for a label that is missing, or that the classifier does not know.
    """
    concept = shots_of(prompts, seeds, first_seed)
    labels, texts = ([], others) if label is None else split_labels(others, label)
    other_shots = shots_of(texts, seeds, first_seed + len(concept))
    return Subjects(concept, other_shots, [name for name in labels for _ in range(seeds)])


@dataclass(frozen=True)
class _Column:
    """What is kept of the pictures at one multiplier, of which there may be thousands."""

    labels: list[str]
    """What the classifier sees, in the order of the shots; empty without one."""

    embeddings: np.ndarray
    """float [shots, e]; of no rows where nothing embeds."""

    shown: dict[int, np.ndarray]


class Sweep:
    """Draws and measures point after point; what it has so far can be read at any time.

    Pictures are judged as they come and dropped, but for those at the places `shown`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        subjects: Subjects,
        intervention: Intervention,
        classify: Classify | None = None,
        concept_label: str = "",
        embed: Embed | None = None,
        shown: Sequence[int] = (),
    ) -> None:
        """`intervention` is drawn with each multiplier in turn; `classify` calls the concept `concept_label`.

        `shown` are places among the concept's shots and then the others.
        """
        self._pipeline, self._subjects, self._intervention = pipeline, subjects, intervention
        self._classify, self._label, self._embed = classify, concept_label, embed
        self.shown = shown
        self.points: list[SweepPoint] = []
        self.pictures: list[dict[int, np.ndarray]] = []
        """For each point the pictures at the places `shown`, uint8 [H, W, 3]."""

    def run(self, multipliers: Sequence[float]) -> Iterator[SweepPoint]:
        """The baseline first, then a point for each of `multipliers`, as they come."""
        before = self._draw(())
        yield self._add(SweepPoint(None), before, before)
        for multiplier in multipliers:
            after = self._draw((replace(self._intervention, multiplier=multiplier),))
            yield self._add(SweepPoint(multiplier), before, after)

    def _add(self, point: SweepPoint, before: _Column, after: _Column) -> SweepPoint:
        self.pictures.append(after.shown)
        self.points.append(self._measure(point, before, after))
        return self.points[-1]

    def _draw(self, interventions: Sequence[Intervention]) -> _Column:
        shots = [*self._subjects.concept, *self._subjects.others]
        labels: dict[int, str] = {}
        embeddings: dict[int, np.ndarray] = {}
        shown: dict[int, np.ndarray] = {}
        for places, pictures in self._pipeline.draw_batches(shots, interventions):
            if self._classify is not None:
                labels.update(zip(places, self._classify(pictures), strict=True))
            if self._embed is not None:
                embeddings.update(zip(places, self._embed(pictures), strict=True))
            # Copied, because a picture that is a part of its batch keeps all of it.
            shown.update({place: p.copy() for place, p in zip(places, pictures, strict=True) if place in self.shown})
        return _Column(
            [labels[place] for place in sorted(labels)],
            np.array([embeddings[place] for place in sorted(embeddings)]),
            shown,
        )

    def _measure(self, point: SweepPoint, before: _Column, after: _Column) -> SweepPoint:
        concept = len(self._subjects.concept)
        if self._classify is not None:
            point = replace(point, unlearning_accuracy=unlearning_accuracy(after.labels[:concept], self._label))
            if self._subjects.labels:
                found = after.labels[concept:]
                point = replace(point, retained_accuracy=accuracy(found, self._subjects.labels))
        if self._embed is not None and point.multiplier is not None:
            similarity = cosine_similarity(before.embeddings, after.embeddings)
            point = replace(point, clip_similarity=float(similarity[:concept].mean()))
            if self._subjects.others:
                point = replace(point, clip_similarity_others=float(similarity[concept:].mean()))
        return point


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
