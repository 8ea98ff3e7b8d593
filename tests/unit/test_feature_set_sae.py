"""A feature set knows the SAE that its features are of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from saeuron.errors import SaeuronError
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.sae.model import SAEIdentity

SAE = SAEIdentity("ab" * 32, "sdxl-turbo", "up_blocks.0.attentions.1", "update", d=1280, n=50, k=10)
CATS = FeatureSet("cats", SAE, {}, {}, (FeatureStep(None, (Feature(7),)),))


def test_own_sae_is_accepted() -> None:
    CATS.check_sae(SAE)
    replace(CATS, sae=replace(SAE, sha256="", base_model="", hookpoint="", kind="")).check_sae(SAE)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "cd" * 32},
        {"sha256": ""},  # recorded in the set, so it has to be known
        {"base_model": "sd15"},
        {"hookpoint": "mid_block.attentions.0"},
        {"kind": "output"},
        {"d": 640},
        {"n": 51},
        {"k": 32},
    ],
)
def test_another_sae_is_refused_and_both_are_named(change: dict[str, Any]) -> None:
    other = replace(SAE, **change)
    with pytest.raises(SaeuronError) as caught:
        CATS.check_sae(other)
    for part in (SAE.describe(), other.describe(), "'cats'", *change):
        assert part in str(caught.value)


def test_what_is_not_recorded_does_not_hide_what_is() -> None:
    with pytest.raises(SaeuronError, match="k"):
        replace(CATS, sae=replace(SAE, sha256="")).check_sae(replace(SAE, k=32))
