"""An image classifier in a transformers folder, as the judge of what a picture shows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ..errors import SaeuronError


class Classifier:
    """`folder` holds a transformers image-classification model and its image processor, any labels.

    Errors: `SaeuronError` if it does not, or its weights are not safetensors.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        try:
            self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            self._model = AutoModelForImageClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            raise SaeuronError(
                f"{folder.name!r} is no image classifier: expected config.json, preprocessor_config.json and "
                f"model.safetensors as transformers writes them. ({error})"
            ) from error
        self.labels = tuple(self._model.config.id2label[i] for i in range(self._model.config.num_labels))

    @torch.inference_mode()
    def classify(self, images: Iterable[np.ndarray]) -> list[str]:
        """The label of each picture, uint8 [H, W, 3]."""
        found = []
        for image in images:
            logits = self._model(**self._processor(images=image, return_tensors="pt")).logits
            found.append(self.labels[int(logits.argmax())])
        return found
