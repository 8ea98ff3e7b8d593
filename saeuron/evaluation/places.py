"""Where a concept is decided: what is drawn when one transformer block at a time is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .metrics import cosine_similarity

DECIDES = 0.5
"""Share of the greatest effect from which a block is said to decide, too."""

DRAWN = 0.5
"""Least share of the pictures with all blocks on which the concept must be seen, for its absence to say anything."""


@dataclass(frozen=True)
class BlockEffect:
    """What leaving one block out does to pictures of a concept."""

    hookpoint: str
    seen: float | None = None
    """Share of the pictures on which a classifier still sees the concept."""

    similarity: float | None = None
    """CLIP similarity to the same pictures drawn with all blocks, -1 to 1."""


class BlockStudy:
    """The effects of all blocks, from what judges say of the pictures; the first ones are those with all blocks."""

    def __init__(self, label: str = "") -> None:
        """`label` is what the classifier calls the concept."""
        self.label = label
        self.baseline: float | None = None
        """The share with all blocks."""

        self.effects: list[BlockEffect] = []
        self._plain: np.ndarray | None = None

    def add(self, hookpoint: str, labels: Sequence[str] | None, embeddings: np.ndarray | None) -> None:
        """`labels` [N] of a classifier, `embeddings` [N, e] of CLIP; `hookpoint` is empty for all blocks."""
        seen = None if labels is None else float(np.mean([found == self.label for found in labels]))
        if not hookpoint:
            self.baseline, self._plain = seen, embeddings
            return
        similarity = None
        if embeddings is not None and self._plain is not None:
            similarity = float(cosine_similarity(embeddings, self._plain).mean())
        self.effects.append(BlockEffect(hookpoint, seen, similarity))

    def ranked(self) -> list[BlockEffect]:
        """The blocks without which the least is left of the concept first; by the classifier if there is one."""
        return sorted(self.effects, key=_left)

    def verdict(self) -> str:
        """Where to look for an SAE, in one sentence."""
        if not self.effects:
            return "This model has no transformer block."
        if self.baseline is not None and self.baseline < DRAWN:
            return (
                f"Nothing can be said: with all blocks the classifier sees {self.label} on {self.baseline:.0%} of the "
                "pictures only. Write prompts that the model draws well, or choose another label."
            )
        first, *rest = self.ranked()
        most = self._lost(first)
        if most < 0.1:
            return "No single block decides about it: the model draws it without any one of them."
        others = [block.hookpoint for block in rest if self._lost(block) >= DECIDES * most]
        also = f" {', '.join(others)} decide{'s' if len(others) == 1 else ''}, too." if others else ""
        return f"{first.hookpoint} decides the most about it.{also}"

    def _lost(self, block: BlockEffect) -> float:
        """Share of what is there with all blocks that is gone without `block`."""
        return 1 - _left(block) / (1.0 if self.baseline is None else self.baseline)

    def table(self) -> str:
        """The figures as text, the verdict first."""
        lines = [self.verdict(), "left out                     concept seen   CLIP similarity"]
        if self.baseline is not None:
            lines.append(f"{'nothing':26}   {self.baseline:12.1%}   {'-':>15}")
        return "\n".join(lines + [_row(block) for block in self.ranked()])

    def rows(self) -> list[dict[str, Any]]:
        """As JSON values, in the order in which the blocks run."""
        return [asdict(block) for block in self.effects]


def _left(block: BlockEffect) -> float:
    left = block.similarity if block.seen is None else block.seen
    return 1.0 if left is None else left


def _row(block: BlockEffect) -> str:
    seen = "-" if block.seen is None else f"{block.seen:.1%}"
    similarity = "-" if block.similarity is None else f"{block.similarity:.3f}"
    return f"{block.hookpoint:26}   {seen:>12}   {similarity:>15}"
