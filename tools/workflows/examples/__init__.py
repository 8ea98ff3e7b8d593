"""What is in each example workflow."""

from __future__ import annotations

from collections.abc import Sequence

from tools.workflows.description import Column

from . import features, miniature, replacing, turbo

DESCRIPTIONS: dict[str, Sequence[Column]] = {
    "forget_a_concept": replacing.forget(),
    "forget_one_of_two": replacing.forget_one_of_two(),
    "replace_a_concept": replacing.replace(),
    "unlearn_miniature": miniature.UNLEARN,
    "unlearn_sdxl_turbo": turbo.UNLEARN,
    "compute_feature_set": miniature.compute_feature_set(),
    "sweep_multiplier": miniature.sweep_multiplier(),
    "unlearn_several_concepts": features.unlearn_several(),
    "feature_heatmap": features.feature_heatmap(),
    "feature_set_by_hand": features.feature_set_by_hand(),
}
"""File name without .json -> its columns."""
