"""Measurements as text that a person can read, with what a number alone would hide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .metrics import Interval, accuracy_by_label, bootstrap, compare_unlearning, hits

MOSTLY = 0.5
"""Un-ablated UA from which on most of a UA is not the edit's doing."""


def unlearning_report(found: Sequence[str], concept: str, baseline: Sequence[str] | None = None) -> str:
    """UA of the labels `found` on edited pictures; `baseline` are those on the same pictures without the edit."""
    lines = [f"UA of {concept}: {_share(bootstrap([label != concept for label in found]), len(found))}"]
    lines.append(f"The classifier sees: {_counts(found)}.")
    if baseline is None:
        lines.append("No un-ablated pictures to compare with: this counts what is missing without the edit, too.")
        return "\n".join(lines)
    result = compare_unlearning(found, baseline, concept)
    lines.append(f"Without the edit: {result.baseline:.1%}. The classifier sees: {_counts(baseline)}.")
    if result.removed is None:
        lines.append(
            f"The classifier does not see {concept} in the un-ablated pictures either. There is nothing to remove, and "
            "this UA says nothing about the edit. Look at the pictures, the prompts and the classifier."
        )
        return "\n".join(lines)
    shown = len(baseline) - round(result.baseline * len(baseline))
    lines.append(f"Of {shown} pictures that showed {concept} without the edit, {result.removed:.1%} lost it.")
    if result.baseline >= MOSTLY:
        lines.append("Most un-ablated pictures miss the concept already, so most of this UA is not the edit's doing.")
    return "\n".join(lines)


def retain_report(found: Sequence[str], truth: Sequence[str], baseline: Sequence[str] | None = None) -> str:
    """Accuracy of `found` against what was asked for, in all and by label; `baseline` as for `unlearning_report`."""
    lines = [f"Retained accuracy: {_share(bootstrap(hits(found, truth)), len(found))}"]
    before = {}
    if baseline is not None:
        before = accuracy_by_label(baseline, truth)
        lines.append(f"Without the edit: {bootstrap(hits(baseline, truth)).mean:.1%}.")
    by_label, asked = accuracy_by_label(found, truth), Counter(truth)
    for label, share in by_label.items():
        was = f", {before[label]:.1%} without the edit" if before else ""
        lines.append(f"{label}: {share:.1%} of {_pictures(asked[label])}{was}")
    if len(by_label) == 1:
        lines.append("Only one label was asked for; what happens to others is not measured here.")
    return "\n".join(lines)


def similarity_report(similarities: Sequence[float]) -> str:
    """CLIP similarities, one a picture: their mean with its interval, and each of them."""
    mean, low, high = bootstrap(similarities)
    return "\n".join(
        [
            f"CLIP similarity: {mean:.3f} (95 % interval {low:.3f} to {high:.3f}) of {_pictures(len(similarities))}",
            *(f"picture {number}: {value:.3f}" for number, value in enumerate(similarities, start=1)),
        ]
    )


def _share(interval: Interval, pictures: int) -> str:
    mean, low, high = interval
    return f"{mean:.1%} (95 % interval {low:.1%} to {high:.1%}) of {_pictures(pictures)}"


def _counts(found: Sequence[str]) -> str:
    return ", ".join(f"{label} {count}" for label, count in Counter(found).most_common())


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
