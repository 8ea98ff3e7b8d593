"""The values that travel between the pack's nodes, and their socket types."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from comfy_api.v0_0_2 import io

from ...saeuron.evaluation.classifier import Classifier
from ...saeuron.sae.figures import SAEFigures
from ...saeuron.sae.model import SAEIdentity, SparseAutoencoder

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from torch import Tensor

CATEGORY = "SAeUron"
EVALUATION = f"{CATEGORY}/evaluation"
FEATURES = f"{CATEGORY}/features"

SAE = io.Custom("SAEURON_SAE")
STATISTICS = io.Custom("SAEURON_STATISTICS")
FEATURE_SET = io.Custom("SAEURON_FEATURE_SET")
CLASSIFIER = io.Custom("SAEURON_CLASSIFIER")


class HostedSAE(NamedTuple):
    """An SAE inside the host's ``ModelPatcher``, so that the host loads, offloads and accounts for it."""

    patcher: ModelPatcher
    identity: SAEIdentity
    labels: Mapping[int, str] = MappingProxyType({})
    """What people call its features, by index."""

    figures: SAEFigures | None = None
    """What it had on the model that it was trained on, where its file says so."""

    note: str = ""
    """What a person should know of how its files were read."""

    @property
    def module(self) -> SparseAutoencoder:
        return self.patcher.model


class HostedClassifier(NamedTuple):
    """A classifier whose network is in the host's ``ModelPatcher``, for the same reason."""

    patcher: ModelPatcher
    classifier: Classifier

    def ready(self) -> Classifier:
        """The classifier, loaded to the host's device."""
        import comfy.model_management

        # Whole, because only modules made of the host's own operations can run while a part of them is offloaded.
        comfy.model_management.load_models_gpu([self.patcher], force_full_load=True)
        return self.classifier


def region_of(mask: Tensor | None) -> Tensor | None:
    """The host's MASK, [M, H, W] or from some nodes [H, W], as a region [M, H, W]."""
    return mask.unsqueeze(0) if mask is not None and mask.ndim == 2 else mask
