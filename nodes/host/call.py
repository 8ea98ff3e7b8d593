"""What the host says about one call of the UNet, read once: the only place that knows its ``transformer_options``.

The host runs the rows of several conditionings together and names only their places in a list, which mean another
thing with every guider, and other packs split, stack and reorder the rows. So each conditioning of a run is given a
tag, which the host carries along with its text: row by row it says which conditioning, picture and area this is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.conds
import torch
from torch import Tensor

from ...saeuron.edits.call import NEGATIVE, OTHER, POSITIVE, Area, Call, Row
from ...saeuron.errors import SaeuronError
from ...saeuron.schedule import nearest_step

TAG = "saeuron_rows"  # the tag's name among the arguments that the host hands to the model
RUN = "saeuron-run"  # where a run keeps its `Run` in transformer_options

# The names that guiders of the host give to their lists of conditionings.
_ROLES = {"positive": POSITIVE, "middle": POSITIVE, "negative": NEGATIVE, "empty_negative_prompt": OTHER}
_SPLIT_BY_PACK = "another custom node runs the UNet on rows or parts of the picture of its own choosing"


class RowTags(comfy.conds.CONDRegular):
    """A conditioning's tag. As the model's argument it is int64 [rows, 7]: conditioning, picture, how many pictures
    there were, and the area in latent pixels as top, left, height, width; height 0 for the whole picture."""

    def process_cond(self, batch_size: int, area: Sequence[int] | None = None, **_: Any) -> RowTags:
        height, width, top, left = area if area is not None and len(area) == 4 else (0, 0, 0, 0)
        number, place = int(self.cond), (batch_size, top, left, height, width)
        # On the CPU, where reading it waits for nothing.
        return RowTags(torch.tensor([[number, picture, *place] for picture in range(batch_size)]))


class Conditionings:
    """The conditionings of one run, tagged."""

    def __init__(self, guider: Any, pictures: int, size: tuple[int, int]) -> None:
        """`pictures` and `size`, height and width, are of the run's latent."""
        self.pictures, self.size = pictures, size
        self._guider = type(guider).__name__
        self._names: list[str] = []
        self._uuids: set[Any] = set()
        for name, conditionings in guider.conds.items():
            guider.conds[name] = [self._tagged(name, conditioning) for conditioning in conditionings]

    def _tagged(self, name: str, conditioning: Mapping[str, Any]) -> dict[str, Any]:
        self._names.append(name)
        self._uuids.add(conditioning.get("uuid"))
        tag = RowTags(torch.tensor([len(self._names) - 1]))
        return {**conditioning, "model_conds": {**conditioning.get("model_conds", {}), TAG: tag}}

    def rows(self, tags: Tensor, size: tuple[int, int], window: Any) -> tuple[list[Row], str]:
        """Of a call on latents of `size`; `window` is the host's context window. The text says what is not known."""
        unknown, rows = "", []
        for number, picture, pictures, top, left, height, width in tags.tolist():
            area = Area(top, left, height, width, self.size) if height else None
            area_known = size == ((height, width) if area is not None else self.size)
            shown = self._picture(picture, pictures, window)
            role = _ROLES.get(self._names[number])
            if role is None:
                unknown = f"the guider {self._guider} has conditionings named {self._names[number]!r}"
            elif not area_known or shown is None:
                unknown = _SPLIT_BY_PACK
            rows.append(Row(role, shown, area if area_known else None, area_known, number))
        return rows, unknown

    def _picture(self, picture: int, pictures: int, window: Any) -> int | None:
        if window is not None and window.dim == 0:
            # Newer hosts draw the picture before the window once more with it, and leave out what comes of it.
            before = getattr(window, "causal_anchor_index", None)
            shown = window.index_list if before is None or before < 0 else [before, *window.index_list]
            if len(shown) == pictures:
                return int(shown[picture])
        return picture if pictures == self.pictures else None

    def own(self, uuids: Sequence[Any]) -> bool:
        """Whether any of these conditionings, as the host numbers them, is one of the run's."""
        return any(uuid in self._uuids for uuid in uuids)


def read_call(
    options: Mapping[str, Any], tags: Tensor | None, batch: int, size: tuple[int, int], run: Any | None
) -> Call:
    """`options` are the host's ``transformer_options``; `batch` rows of latents of `size`; `run` the `Run`, if known.

    Errors: `SaeuronError` if the noise level is not told.
    """
    sigma = _sigma(options)
    schedule = run.schedule if run is not None else read_schedule(options.get("sample_sigmas"))
    step = nearest_step(schedule, sigma) if schedule and sigma > 0 else 0
    conditionings = None if run is None else run.conditionings
    if conditionings is None:
        return Call(sigma, step, (Row(),) * batch, "it was not started by one of ComfyUI's guiders")
    if tags is None:
        if conditionings.own(options.get("uuids") or ()):
            return Call(sigma, step, (Row(),) * batch, "another custom node leaves out what is told about the rows")
        # A conditioning of another node's own, as the older Perp-Neg node makes one.
        own_size = size == conditionings.size
        pictures = [row if batch == conditionings.pictures else None for row in range(batch)]
        return Call(sigma, step, tuple(Row(OTHER, picture, None, own_size) for picture in pictures), _SPLIT_BY_PACK)
    if len(tags) != batch:
        return Call(sigma, step, (Row(),) * batch, _SPLIT_BY_PACK)
    rows, unknown = conditionings.rows(tags, size, options.get("context_window"))
    return Call(sigma, step, tuple(rows), unknown)


def _sigma(options: Mapping[str, Any]) -> float:
    sigmas = options.get("sigmas")
    if sigmas is None:
        raise SaeuronError(
            "The node that runs this model does not tell the noise level, so the step's features can't be chosen. "
            "Use KSampler, SamplerCustom or another sampler that goes through ComfyUI's sampling."
        )
    return float(sigmas.flatten()[0])


def read_schedule(sigmas: Tensor | None) -> list[float]:
    """The noise level of each step, of the host's ``sigmas``; empty if not known."""
    return [] if sigmas is None else [sigma for sigma in sigmas.flatten().tolist() if sigma > 0]
