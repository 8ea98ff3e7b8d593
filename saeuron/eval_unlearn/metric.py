"""The metric ``saeuron_ua_ira`` of eval-unlearn: its UA and IRA with one of our judges in place of CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from eval_unlearn.datasets.ua_ira_csv import load_ua_ira_csv
from eval_unlearn.metrics.ua_ira.metric import UAIRAMetric

from ..errors import SaeuronError
from ..evaluation.classifier import Classifier


class JudgedUAIRA(UAIRAMetric):
    """`classifier` is a folder or a checkpoint that `Classifier` reads; the two concepts are labels of it.

    A picture counts if the judge finds the retained concept likelier than the target, as CLIP is asked there: for UA
    among the target's prompts, for IRA among the others'. Sums and report are eval-unlearn's own.
    """

    def __init__(
        self,
        classifier: str,
        target_concept: str,
        retain_concept: str,
        target_prompts_path: str,
        retain_prompts_path: str,
        batch_size: int = 32,
    ) -> None:
        self._judge = Classifier(Path(classifier))
        self._labels = [self._judge.labels.index(self._judge.label(c)) for c in (target_concept, retain_concept)]
        self.config = _Settings(
            classifier=classifier,
            target_concept=target_concept,
            retain_concept=retain_concept,
            target_prompts_path=target_prompts_path,
            retain_prompts_path=retain_prompts_path,
            batch_size=batch_size,
        )

    def load_dataset(self) -> Any:
        self._target_correct_count = self._target_total_count = 0
        self._retain_correct_count = self._retain_total_count = 0
        settings = self.config
        return load_ua_ira_csv(
            settings["target_prompts_path"],
            settings["retain_prompts_path"],
            settings["target_concept"],
            settings["retain_concept"],
            batch_size=settings["batch_size"],
        )

    def update(self, images: list[Any], _prompts: list[str], metadata: dict[str, Any] | None = None) -> None:
        """Errors: `SaeuronError` unless `metadata` says of each picture which half it is of.

        Its own method splits by the place in the whole list, which is right only if all prompts are in one batch.
        """
        halves = (metadata or {}).get("categories", [])
        if len(halves) != len(images):
            raise SaeuronError(f"There are {len(images)} pictures and {len(halves)} categories; one of each is needed.")
        pictures = np.stack([np.asarray(image.convert("RGB")) for image in images])
        target, retain = self._judge.probabilities(pictures)[:, self._labels].T
        kept = retain > target
        of_target = np.array([half == "target" for half in halves])
        self._target_total_count += int(of_target.sum())
        self._target_correct_count += int(kept[of_target].sum())
        self._retain_total_count += int((~of_target).sum())
        self._retain_correct_count += int(kept[~of_target].sum())


class _Settings(dict[str, Any]):
    """What the report says of the metric, as eval-unlearn asks for it."""

    def to_dict(self) -> dict[str, Any]:
        return dict(self)
