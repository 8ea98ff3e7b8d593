"""Nothing of an edit is left behind: not on the model, and not in memory once nobody refers to it."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from support.host_graph import Shot, hooked_blocks, load_sae, sample, unlearn
from tools.pack import pack

SHOT = Shot()
HOOKPOINTS = ("up_blocks.0.attentions.0", "mid_block.attentions.0", "down_blocks.2.attentions.1")


def edited(model, sae):
    features = pack("nodes.find").SaeuronFeaturesByIndex.execute(sae, ", ".join(map(str, range(40))), "soak").result[0]
    return unlearn(model, sae, features, -3.0, rule="gamma")


def assert_clean(model) -> None:
    assert not hooked_blocks(model)
    assert not model.attachments and not model.additional_models
    assert not any(keys for wrappers in model.wrappers.values() for keys in wrappers.values())
    assert not model.model_options["transformer_options"].get("wrappers")


def test_nothing_is_left_on_base_and_clones(miniature, sae, cats):
    model = miniature[0]
    sibling = model.clone()
    plain = sample(miniature, model, SHOT)
    for hookpoint in HOOKPOINTS:
        sample(miniature, edited(unlearn(sibling, sae, cats), load_sae(hookpoint)), SHOT)
    for clean in (model, sibling, model.clone()):
        assert_clean(clean)
        assert torch.equal(sample(miniature, clean, SHOT), plain)


@pytest.mark.parametrize("hookpoint", HOOKPOINTS)
def test_an_sae_is_released_with_the_last_model_that_used_it(miniature, hookpoint):
    import comfy.model_management

    sae = load_sae(hookpoint)
    gone = [weakref.ref(sae.module), weakref.ref(sae.patcher)]
    patched = edited(miniature[0], sae)
    sample(miniature, patched, SHOT)
    del sae
    gc.collect()
    assert all(reference() is not None for reference in gone), "the patched model needs it"
    gone.append(weakref.ref(patched))
    del patched
    sample(miniature, miniature[0], SHOT)
    comfy.model_management.cleanup_models_gc()
    gc.collect()
    assert not any(reference() for reference in gone)
