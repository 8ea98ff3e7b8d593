"""The values that travel between the pack's nodes, and their socket types."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from comfy_api.v0_0_2 import io

from ...saeuron.sae import SAEIdentity, SparseAutoencoder

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

CATEGORY = "SAeUron"
CATEGORY_EVALUATION = "SAeUron/evaluation"

SAE = io.Custom("SAEURON_SAE")
STATISTICS = io.Custom("SAEURON_STATISTICS")
FEATURE_SET = io.Custom("SAEURON_FEATURE_SET")
CLASSIFIER = io.Custom("SAEURON_CLASSIFIER")


class HostedSAE(NamedTuple):
    """An SAE inside the host's ``ModelPatcher``, so that the host loads, offloads and accounts for it."""

    patcher: ModelPatcher
    identity: SAEIdentity

    @property
    def module(self) -> SparseAutoencoder:
        return self.patcher.model
