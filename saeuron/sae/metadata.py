"""What our files say of an SAE besides its tensors, and how others' layouts carry it.

They have no field for some of it: SAELens none for the k of a JumpReLU SAE, sdxl-unbox none for where an SAE belongs.
So what we write in a layout of others has it all under `FIELD` in the config, which their readers pass over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any, NamedTuple

from ..errors import SaeuronError
from . import figures
from .model import ACTIVATIONS, JUMPRELU, TOPK, SparseAutoencoder
from .weights import Placement, SAEWeights, positive

FIELD = "saeuron"

PLACE_FIELDS = ("base_model", "hookpoint", "kind")
"""Of `Placement`, and of our metadata."""


class Metadata(NamedTuple):
    placement: Placement
    k: int
    activation: str
    figures: figures.SAEFigures | None

    @property
    def choices(self) -> tuple[str, ...]:
        return (TOPK,) if self.activation == JUMPRELU else ()


def metadata_of(
    sae: SparseAutoencoder, placement: Placement, measured: figures.SAEFigures | None = None
) -> dict[str, str]:
    """All that makes `sae` the SAE that it is and is no tensor. `measured`: what it had on its own model."""
    metadata = {name: getattr(placement, name) for name in PLACE_FIELDS} | {"k": str(sae.k)}
    if sae.activation != TOPK:
        metadata["activation"] = sae.activation
    if placement.assumed:
        metadata["assumed"] = " ".join(placement.assumed)
    if measured is not None:
        metadata[figures.FIELD] = measured.as_text()
    return metadata


def read_metadata(metadata: Mapping[str, str], file: Path) -> Metadata:
    """Errors: `SaeuronError` for an activation that is not known, a k that is no number, figures that can't be."""
    fields = {name: metadata.get(name, "") for name in PLACE_FIELDS}
    assumed = metadata.get("assumed", "").split()
    activation = metadata.get("activation", TOPK)
    if activation not in ACTIVATIONS:
        raise SaeuronError(f"{file.name} has activation {brief(activation)}; expected one of {', '.join(ACTIVATIONS)}.")
    return Metadata(
        Placement(**fields, assumed=tuple(name for name in PLACE_FIELDS if name in assumed)),
        positive(metadata.get("k"), "k", file),
        activation,
        figures.read_figures(metadata, file.name),
    )


def with_metadata(weights: SAEWeights, config: Mapping[str, Any]) -> SAEWeights:
    """`weights` with what `config`, of a folder in another layout, has under `FIELD`, or its own ``metadata`` has.

    What the layout has a field for stays as that says. Errors: as `read_metadata`, and `SaeuronError` for values that
    are no text.
    """
    about = config.get("metadata")
    found = config.get(FIELD) or (about.get(FIELD) if isinstance(about, Mapping) else None)
    if found is None:
        return weights
    if not isinstance(found, Mapping) or not all(isinstance(value, str) for value in found.values()):
        raise SaeuronError(
            f"The SAE in {weights.file.parent.name!r} has {FIELD!r} in its config, which can't be: {brief(found)}. "
            "Take it out, and choose on the loader what it said."
        )
    said = read_metadata(found, weights.file)
    place = {name: getattr(said.placement, name) or getattr(weights.placement, name) for name in PLACE_FIELDS}
    weights = replace(weights, placement=replace(said.placement, **place), place="", figures=said.figures)
    n = len(weights.encoder_weight)
    if weights.activation == said.activation == JUMPRELU and weights.k == n and said.k < n:
        return replace(weights, k=said.k, choices=said.choices)
    return weights
