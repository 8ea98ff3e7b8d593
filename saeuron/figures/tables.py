"""Feature sets as text that a person can read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from ..edits.intervention import FARTHEST_PUSH, Intervention
from ..edits.steering import Steering
from ..features.feature_set import FeatureSet, FeatureStep
from ..sae.labels import named

NO_LABELS: Mapping[int, str] = {}


def feature_set_table(feature_set: FeatureSet, labels: Mapping[int, str] = NO_LABELS) -> str:
    """One row per feature: score, mean activations, firing rates, label. Unknown numbers are shown as a dash."""
    lines = [f"{feature_set.concept}: {_count(feature_set)} for {feature_set.sae.describe()}"]
    if feature_set.note:
        lines.append(feature_set.note)
    if feature_set.detector is not None:
        lines.append(f"detector: {feature_set.detector.describe()}")
    for step in feature_set.steps:
        lines.append(_step_title(step))
        lines.append("feature     score   mean in concept   mean in all   fires in concept   fires in all")
        for f in step.features:
            lines.append(
                f"{f.index:7d}  {_number(f.score, 8)}  {_number(f.mean_concept, 16)}  {_number(f.mean_all, 12)}"
                f"  {_percent(f.rate_concept, 17)}  {_percent(f.rate_all, 13)}  {labels.get(f.index, '')}".rstrip()
            )
    return "\n".join(lines)


def effective_factor_table(intervention: Intervention, labels: Mapping[int, str] = NO_LABELS) -> str:
    """What each feature is multiplied with where it is active: the multiplier alone does not tell.

    By the rule ``relative`` that depends on the token; how far tokens are pushed is told instead.
    """
    lines = [
        f"{intervention.feature_set.concept}: multiplier {intervention.multiplier:g}, rule {intervention.rule}, "
        f"mode {intervention.mode}"
    ]
    if intervention.rule == "relative":
        lengths = -intervention.multiplier / 100 * FARTHEST_PUSH
        features = {feature.index for step in intervention.feature_set.steps for feature in step.features}
        return "\n".join(
            [*lines, f"tokens on which one of {len(features)} features fires: pushed by {lengths:.3g} x their length"]
        )
    for step in intervention.feature_set.steps:
        lines.append(_step_title(step))
        for feature, factor in zip(step.features, intervention.factors(step), strict=True):
            lines.append(
                f"feature {named(feature.index, labels)}: x {factor:.4g} where above {feature.mean_all or 0.0:.4g}"
            )
    return "\n".join(lines)


def strength_table(steering: Steering, labels: Mapping[int, str] = NO_LABELS) -> str:
    """What is added of each feature."""
    lines = ["added where the mask says" if steering.region is not None else "added everywhere"]
    lines += [f"feature {named(index, labels)}: {strength:+g}" for index, strength in steering.strengths]
    return "\n".join(lines)


def with_note(table: str, note: str) -> str:
    """`table` with `note` below it, if there is one."""
    return f"{table}\n{note}" if note else table


def edited_tokens_table(steps: Mapping[int, tuple[int, int]], asked: Collection[int] = ()) -> str:
    """How many tokens of the block were edited in a run; `steps` maps each step, from 0, to (edited, seen).

    `asked` are the steps that the sampler asked for: those at which the block was not run are named. Steps that follow
    each other with the same numbers share a line.
    """
    edited, seen = (sum(counts) for counts in zip(*steps.values(), strict=True)) if steps else (0, 0)
    lines = [f"edited in this run: {edited} of {seen} tokens"]
    for (part, whole), alike in groupby(sorted(steps), key=lambda step: steps[step]):
        numbers = [step + 1 for step in alike]
        name = f"step {numbers[0]}" if len(numbers) == 1 else f"steps {numbers[0]} to {numbers[-1]}"
        lines.append(f"  {name}: {part} of {whole}" + (" each" if len(numbers) > 1 else ""))
    if missing := sorted(set(asked) - set(steps)):
        numbers_text = ", ".join(str(step + 1) for step in missing)
        lines.append(f"  not run at step{'s' if len(missing) > 1 else ''} {numbers_text}: another node drew there")
    return "\n".join(lines)


def replaced_table(rows: Sequence[tuple[int, int, float, bool]]) -> str:
    """Where a run replaced a concept; each row is picture and conditioning, from 0, marked share, and whether it acted.

    Conditionings are named only where there are several.
    """
    acted = sum(acts for *_, acts in rows)
    lines = [f"replaced in this run: {acted} of {len(rows)}"]
    several = len({conditioning for _, conditioning, *_ in rows}) > 1
    for picture, conditioning, share, acts in sorted(rows):
        where = f"picture {picture + 1}" + (f", prompt {conditioning + 1}" if several else "")
        found = f"found on {share:.0%} of it" if share else "not found"
        lines.append(f"  {where}: {found}, {'replaced' if acts else 'left as it is'}")
    return "\n".join(lines)


def mask_table(shares: Sequence[float]) -> str:
    """In which pictures something was replaced; `shares` of each of them, from 0 to 1."""
    lines = [f"replaced in {sum(share > 0 for share in shares)} of {len(shares)} pictures"]
    for number, share in enumerate(shares, 1):
        lines.append(f"  picture {number}: " + (f"on {share:.0%} of it" if share else "left as it is"))
    return "\n".join(lines)


def _count(feature_set: FeatureSet) -> str:
    distinct = {feature.index for step in feature_set.steps for feature in step.features}
    return f"{len(distinct)} feature{'' if len(distinct) == 1 else 's'}"


def _step_title(step: FeatureStep) -> str:
    return "all steps" if step.sigma is None else f"sigma {step.sigma:.4g}"


def _number(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.4g}"


def _percent(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value * 100:{width - 1}.1f}%"
