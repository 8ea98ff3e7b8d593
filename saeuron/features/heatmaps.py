"""Where in a picture features fire, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SaeuronError
from ..sae.labels import named
from ..sae.model import SparseCodes
from ..schedule import check_schedule, nearest_step
from .feature_set import FeatureSet

VIEWS = ("summed", "per feature", "per step")


class Heatmap(NamedTuple):
    title: str
    values: Tensor
    """[h, w] float32, activations."""


class ActivationMaps:
    """Activations of some features at the tokens of one picture; s steps, m features."""

    def __init__(self, features: Sequence[int], sigmas: Sequence[float]) -> None:
        """`sigmas`: the noise level of each step, descending. Errors: `SaeuronError` for none of either."""
        if not features:
            raise SaeuronError("There is no feature to show. Connect a feature set that has some.")
        self.features = tuple(features)
        self.sigmas = check_schedule(sigmas)
        self._calls: dict[int, list[Tensor]] = {}

    def add(self, sigma: float, codes: SparseCodes) -> None:
        """Codes [1, h, w, k] of the picture at noise level `sigma`."""
        features = torch.tensor(self.features, device=codes.indices.device)
        activations = codes.of(features)[0].permute(2, 0, 1).float().cpu()  # HWC -> CHW
        self._calls.setdefault(nearest_step(self.sigmas, sigma), []).append(activations)

    def values(self) -> Tensor:
        """[s, m, h, w] float32; of a step at which the model is called several times, the mean.

        Errors: `SaeuronError` if nothing was added.
        """
        if not self._calls:
            raise SaeuronError("The model ran without its block being read: another custom node bypasses it.")
        shape = next(iter(self._calls.values()))[0].shape
        steps = range(len(self.sigmas))
        return torch.stack(
            [torch.stack(self._calls[step]).mean(0) if step in self._calls else torch.zeros(shape) for step in steps]
        )

    def heatmaps(self, view: str, labels: Mapping[int, str]) -> list[Heatmap]:
        """``summed`` over features and steps, or one ``per feature`` or ``per step``, each summed over the other."""
        values = self.values()
        if view == "summed":
            count = len(self.features)
            features = f"feature {named(self.features[0], labels)}" if count == 1 else f"{count} features"
            return [Heatmap(f"{features}, all steps", values.sum((0, 1)))]
        if view == "per feature":
            maps = values.sum(0)
            return [Heatmap(f"feature {named(f, labels)}", m) for f, m in zip(self.features, maps, strict=True)]
        if view == "per step":
            maps = values.sum(1)
            titles = [f"step {step + 1}, sigma {sigma:.3g}" for step, sigma in enumerate(self.sigmas)]
            return [Heatmap(title, m) for title, m in zip(titles, maps, strict=True)]
        raise SaeuronError(f"Unknown view {view!r}; choose one of {', '.join(VIEWS)}.")

    def table(self, labels: Mapping[int, str]) -> str:
        """For each feature how much it fires, its highest activation, and at which step and place that is."""
        values = self.values()
        height, width = values.shape[-2:]
        lines = [f"tokens: {width} x {height}", "feature: sum, highest activation (step; column, row)"]
        for feature, own in zip(self.features, values.unbind(1), strict=True):
            step, row, column = (int(i) for i in torch.unravel_index(own.argmax(), own.shape))
            where = f" (step {step + 1}; {column + 1}, {row + 1})" if own.max() > 0 else ""
            lines.append(f"{named(feature, labels)}: {float(own.sum()):.4g}, {float(own.max()):.4g}{where}")
        return "\n".join(lines)


def features_of(feature_set: FeatureSet) -> list[int]:
    """The features of all steps, each once, in the order in which they come."""
    return list(dict.fromkeys(feature.index for step in feature_set.steps for feature in step.features))


def as_mask(values: Tensor, height: int, width: int) -> Tensor:
    """[h, w] activations as a mask [1, height, width], 0 to 1 where they are highest; all 0 if nothing fires."""
    highest = values.max()
    scaled = values / highest if highest > 0 else values
    return F.interpolate(scaled[None, None], (height, width), mode="bilinear", align_corners=False)[0].clamp(0, 1)


def patch_around_peak(values: Tensor, height: int, width: int, tokens: int = 3) -> tuple[slice, slice]:
    """The part of a picture of `height` x `width` around its strongest token: rows and columns, `tokens` on a side."""
    rows, columns = values.shape
    row, column = (int(i) for i in torch.unravel_index(values.argmax(), values.shape))
    tall, wide = min(tokens, rows), min(tokens, columns)
    top = min(max(row - tall // 2, 0), rows - tall)
    left = min(max(column - wide // 2, 0), columns - wide)
    return (
        slice(top * height // rows, (top + tall) * height // rows),
        slice(left * width // columns, (left + wide) * width // columns),
    )
