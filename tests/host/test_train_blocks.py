"""Train SAE on every attention block of SD 1.5's and of SDXL's UNet, in small and with random weights."""

from __future__ import annotations

import numpy as np
import pytest

from saeuron.sae.hookpoints import FAMILIES, hookpoints_of
from support import small_models
from tools.pack import pack

SETTINGS = {
    "kind": "output", "prompts": "a cat\na tower", "expansion": 1, "k": 2, "activation": "topk", "training_steps": 2,
    "batch_tokens": 8, "pictures": 8, "held_out": 2, "labelled": False, "seed": 3, "sampler_name": "euler",
    "scheduler": "normal", "steps": 1, "cfg": 1.0, "width": 64, "height": 64,
}  # fmt: skip


@pytest.fixture
def without_plots(monkeypatch):
    """Which take as long as all else here."""
    for module in ("nodes.train", "nodes.host.training"):
        monkeypatch.setattr(pack(module), "training_plot", lambda *_: np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_block(miniature, without_plots, monkeypatch, family):
    bases, find_site = pack("saeuron.sae.base_models"), pack("nodes.host.unet").find_site
    base = bases.BaseModel("small", family, small_models.CHANNELS, 64, "")
    monkeypatch.setitem(bases.BASE_MODELS, "small", base)
    model = getattr(small_models, family)()
    clip, node = small_models.WiderClip(miniature[1], model), pack("nodes.train").SaeuronTrainSAE
    seen = set()
    for block in hookpoints_of(family):
        sae, _, report = node.execute(model, clip, f"small-{block.name}", block.name, **SETTINGS).result
        identity = sae.identity
        assert (identity.hookpoint, identity.kind, identity.base_model) == (block.name, "output", "small")
        assert identity.d == identity.n == block.width(small_models.CHANNELS)
        assert 0 < sae.figures.features_a_token <= 2 and sae.figures.unexplained > 0 and "unexplained" in report
        assert find_site(model, identity) == (block.module, "output")
        seen.add(sae.module.decoder_bias.sum().item())
    assert len(seen) == len(hookpoints_of(family)) > 10, "each block has tokens of its own"
