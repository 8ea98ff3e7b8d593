"""The values that travel between the pack's nodes, and their socket types."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from comfy_api.v0_0_2 import io

from ...saeuron.sae import SAEIdentity, SparseAutoencoder

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from torch import Tensor

CATEGORY = "SAeUron"
CATEGORY_FEATURES = "SAeUron/features"
CATEGORY_EVALUATION = "SAeUron/evaluation"

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

    @property
    def module(self) -> SparseAutoencoder:
        return self.patcher.model


def region_of(mask: Tensor | None) -> Tensor | None:
    """The host's MASK, [M, H, W] or from some nodes [H, W], as a region [M, H, W]."""
    return mask.unsqueeze(0) if mask is not None and mask.ndim == 2 else mask
