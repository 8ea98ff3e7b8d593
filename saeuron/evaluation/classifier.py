"""An image classifier as the judge of what a picture shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import SaeuronError
from ..files import find_in, refuse_stand_in
from ..optional import require
from .unlearncanvas import SUFFIXES, load_unlearncanvas, prepare

Pixels = NDArray[np.uint8]
BATCH = 32


class Classifier:
    """`path` is a transformers image-classification folder, any labels, or an UnlearnCanvas checkpoint (needs timm).

    Pictures are uint8 [B, H, W, 3]. They are judged where `module` is, the CPU unless it is moved, in float32.
    Errors: `SaeuronError` if `path` is neither, or its weights would need code of the file's own to be run.
    """

    def __init__(self, path: Path) -> None:
        parts = _load_checkpoint(path) if path.suffix.lower() in SUFFIXES else _load_folder(path)
        self.module = _Logits(parts.network).eval().requires_grad_(False)
        self.labels = parts.labels
        self._prepare = parts.prepare
        self._head = _find_head(self.module, len(self.labels), path)

    def label(self, name: str) -> str:
        """The label that `name` means; upper and lower case are the same. Errors: `SaeuronError` if there is none."""
        wanted = name.strip().casefold()
        for label in self.labels:
            if label.casefold() == wanted:
                return label
        raise SaeuronError(f"The classifier knows no {name.strip()!r}. It knows: {', '.join(self.labels)}.")

    def classify(self, pictures: Pixels) -> list[str]:
        """The label of each picture."""
        return [self.labels[int(row.argmax())] for row in self.probabilities(pictures)]

    def probabilities(self, pictures: Pixels) -> NDArray[np.float32]:
        """float32 [B, labels], each row adding up to 1."""
        found = [logits.softmax(dim=1) for logits, _ in self._run(pictures)]
        return _join(found, len(self.labels))

    def features(self, pictures: Pixels) -> NDArray[np.float32]:
        """What the last linear layer reads, one vector a picture: float32 [B, d]."""
        return _join([features for _, features in self._run(pictures)], self._head.in_features)

    @torch.inference_mode()
    def _run(self, pictures: Pixels) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits [b, labels] and features [b, d] of one batch after the other."""
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
            raise SaeuronError(f"Expected pictures uint8 [B, H, W, 3], found {pictures.dtype} {list(pictures.shape)}.")
        device = self._head.weight.device
        read: list[Tensor] = []
        hook = self._head.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
        try:
            for start in range(0, len(pictures), BATCH):
                pixels = self._prepare(pictures[start : start + BATCH].copy()).to(device)
                yield self.module(pixels).float(), read.pop().float()
        finally:
            hook.remove()


class _Logits(nn.Module):
    """A plain module around `network`, because the host sets attributes (`device`) that transformers' models refuse."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        output = self.network(pixels)
        logits: Tensor = getattr(output, "logits", output)
        return logits


class _Parts(NamedTuple):
    network: nn.Module
    labels: tuple[str, ...]
    prepare: Callable[[Pixels], Tensor]


def _load_folder(folder: Path) -> _Parts:
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        if file := find_in(folder, name):
            refuse_stand_in(file)
    transformers = require("transformers", "transformers", f"Reading the classifier {folder.name}")
    try:
        # trust_remote_code: without it transformers would ask at the console whether to run code of the folder's own.
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        network: Any = transformers.AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        raise SaeuronError(
            f"{folder.name!r} is no image classifier: expected config.json, preprocessor_config.json and "
            f"model.safetensors as transformers writes them. ({error})"
        ) from error
    labels = tuple(network.config.id2label[i] for i in range(network.config.num_labels))

    def prepare_images(pictures: Pixels) -> Tensor:
        pixels: Tensor = processor(images=list(pictures), input_data_format="channels_last", return_tensors="pt")[
            "pixel_values"
        ]
        return pixels

    return _Parts(network, labels, prepare_images)


def _load_checkpoint(file: Path) -> _Parts:
    return _Parts(*load_unlearncanvas(file), prepare)


def _find_head(network: nn.Module, labels: int, path: Path) -> nn.Linear:
    """The last linear layer with one output a label."""
    heads = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == labels]
    if not heads:
        raise SaeuronError(f"{path.name!r} has no linear layer with one output for each of its {labels} labels.")
    return heads[-1]


def _join(parts: list[Tensor], width: int) -> NDArray[np.float32]:
    if not parts:
        return np.empty((0, width), np.float32)
    joined: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return joined
