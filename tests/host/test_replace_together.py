"""Replace Concept beside what else people put on a MODEL or a CONDITIONING.

With each companion: a replacement by the concept itself, which runs all of it and adds exactly nothing, leaves the
companion's picture bit-identical, so the first call that is run again does not disturb it; a real one acts on the
concept only; the order of the two does not matter; and the model underneath is as before.
"""

from __future__ import annotations

import pytest
import torch

from support.companions import controlled, free_u, hyper_tile, lora, lora_weights, perturbed_attention
from support.host_graph import load_feature_set, load_sae, steer, unlearn
from support.replacing import (
    CAT,
    Draw,
    changed,
    counting,
    draw,
    encode,
    gates,
    watched_replacements,
)
from support.small_models import sd15
from tools.pack import pack

HOW = Draw(batch=2, cfg=2.0, steps=2)


def deep_shrink(model):
    from comfy_extras.nodes_model_downscale import PatchModelAddDownscale

    return PatchModelAddDownscale.execute(model, 4, 2.0, 0.0, 0.5, True, "bicubic", "bicubic").result[0]


def adapter(model):
    """As IPAdapter: the layer's own attention, and that to tokens of a picture."""
    from comfy.ldm.modules.attention import optimized_attention

    def attend(q, k, v, extra):
        picture = torch.ones_like(k[:, :4]) * 0.3
        answers = (optimized_attention(q, *kv, extra["n_heads"]) for kv in ((k, v), (picture, picture)))
        return sum(answers)

    patched = model.clone()
    for block in (("input", 4), ("middle", 0), ("output", 3)):
        patched.set_model_attn2_replace(attend, *block)
    return patched


def couple(model):
    """As attention couple: two texts for each row, which are answered to as rows of their own and then joined."""
    patched = model.clone()

    def split(n, context, value, extra):
        return n.repeat(2, 1, 1), torch.cat([context, context.roll(1, 1)]), torch.cat([value, value.roll(1, 1)])

    def join(output, extra):
        return sum(output.chunk(2)) / 2

    patched.set_model_attn2_patch(split)
    patched.set_model_attn2_output_patch(join)
    return patched


COMPANIONS = (lora, free_u, perturbed_attention, hyper_tile, deep_shrink, adapter, couple)


@pytest.mark.parametrize("companion", COMPANIONS, ids=lambda companion: companion.__name__)
def test_companion_on_the_model(miniature, cat_to_dog, cat_and_tower, companion):
    base, how = miniature[0], Draw(batch=2, steps=2)
    if companion in (deep_shrink, hyper_tile):
        how = how._replace(width=128, height=128)
    plain, alone = (draw(miniature, model, cat_and_tower, how) for model in (base, companion(base)))
    assert not torch.equal(plain, alone)
    model = cat_to_dog(companion(base), instead="a cat")
    assert torch.equal(draw(miniature, model, cat_and_tower, how), alone)
    assert gates(model) == [True, False]
    after = draw(miniature, cat_to_dog(companion(base)), cat_and_tower, how)
    before = draw(miniature, companion(cat_to_dog(base)), cat_and_tower, how)
    assert torch.equal(before, after)
    assert changed(alone, after) == [True, False]
    assert torch.equal(draw(miniature, base, cat_and_tower, how), plain)


def test_maps_that_another_pack_shrinks(miniature, cat_to_dog):
    """The host tells each layer's height and width; from the number of tokens alone they can't be told."""
    model = cat_to_dog(deep_shrink(miniature[0]))
    with watched_replacements() as seen:
        draw(miniature, model, CAT, Draw(steps=1, width=192, height=64))
    assert gates(model) == [True] and {call.x.shape[1] for call in seen} >= {12, 3}


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_control_net(miniature, cat_to_dog, cat_and_tower, guidance):
    how, positive = HOW._replace(cfg=guidance), controlled(miniature, cat_and_tower)
    alone = draw(miniature, miniature[0], positive, how)
    assert not torch.equal(alone, draw(miniature, miniature[0], cat_and_tower, how))
    nothing = cat_to_dog(miniature[0], instead="a cat", sensitivity=10.0)
    assert torch.equal(draw(miniature, nothing, positive, how), alone)
    assert any(gates(nothing))
    assert any(changed(alone, draw(miniature, cat_to_dog(miniature[0], sensitivity=10.0), positive, how)))


def test_texts_are_read_with_the_weights_of_each_conditioning(miniature, cat_to_dog):
    """LoRA hooks give each conditioning its own weights, which change within a step."""
    import comfy.hooks
    from nodes import ConditioningCombine

    hooks = comfy.hooks.create_hook_lora(lora_weights(miniature[0]), 1.0, 0.0)
    text = encode(miniature, CAT)
    both = ConditioningCombine().combine([[c, {**o, "hooks": hooks}] for c, o in text], text)[0]
    plain, model = draw(miniature, miniature[0], both), cat_to_dog(miniature[0])
    library, dog = pack("saeuron.edits.cross_attention"), encode(miniature, "a dog")[0][0]
    replacing, stale = pack("nodes.host.replacing"), []
    original = replacing.replace_tokens

    def check(attn, x, output, touched, instead, concept):
        stale.append(not torch.equal(library.keys_values(attn, dog).values, instead.values))
        return original(attn, x, output, touched, instead, concept)

    replacing.replace_tokens = check
    try:
        found = draw(miniature, model, both)
    finally:
        replacing.replace_tokens = original
    assert gates(model) == [True, True] and changed(plain, found) == [True]
    assert len(stale) == 3 * 2 * 11 and not any(stale)


def test_beside_unlearn_and_steer(miniature, cat_to_dog, cat_and_tower, monkeypatch):
    """Their edits count once, though the first call is run again; where the gate is closed only they act."""
    texts: list[str] = []
    monkeypatch.setattr(
        pack("nodes.host.runs"), "send_text", lambda text, _: texts.append(text) if text.startswith("edited") else None
    )
    sae, towers = load_sae(), load_feature_set("miniature/towers.json")

    def edits(model):
        return steer(unlearn(model, sae, towers, -5.0), sae, "3: 40")

    how = Draw(batch=2)
    alone = draw(miniature, edits(miniature[0]), cat_and_tower, how)
    for model in (cat_to_dog(edits(miniature[0])), edits(cat_to_dog(miniature[0]))):
        assert changed(alone, draw(miniature, model, cat_and_tower, how)) == [True, False]
    assert len(texts) == 6 and all("of 24 tokens" in text for text in texts)


def test_statistics_of_a_run_that_was_begun_again_count_once(miniature, cat_to_dog):
    patching, calls = pack("nodes.host.model"), []
    sae = load_sae()
    site = pack("nodes.host.unet").find_site(miniature[0], sae.identity)
    recorder = patching.Recorder(site, sae, lambda call, rows, codes: calls.append((call.step, codes.values.shape[0])))
    draw(miniature, patching.add_recorder(cat_to_dog(miniature[0]), recorder), CAT)
    assert calls == [(0, 1), (1, 1), (2, 1)]


def test_weights_that_stay_offloaded(miniature, cat_to_dog, cat_and_tower, no_room, monkeypatch):
    loaded = tuple(pack("nodes.load").SaeuronLoadMiniature.execute().result)
    plain, found = (draw(loaded, model, cat_and_tower, HOW) for model in (loaded[0], cat_to_dog(loaded[0])))
    assert loaded[0].model.model_lowvram
    monkeypatch.undo()
    assert torch.equal(draw(miniature, miniature[0], cat_and_tower, HOW), plain)
    assert torch.equal(draw(miniature, cat_to_dog(miniature[0]), cat_and_tower, HOW), found)
    assert changed(plain, found) == [True, False]


def test_a_unet_of_sd15s_shape():
    """No pooled text, convolutions around the transformers, a block at three levels; random weights."""
    import comfy.sample
    import comfy.samplers

    model, generator = sd15(), torch.Generator().manual_seed(0)
    base = model.model
    texts = {name: torch.randn(1, 77, 768, generator=generator) for name in ("asked for", "concept", "instead")}
    positive = [[texts["asked for"], {}]]
    noise = torch.randn(1, 4, 16, 16, generator=generator)

    def run(model):
        euler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([14.6, 3.0, 0.0])
        return comfy.sample.sample_custom(
            model, noise, 1.0, euler, sigmas, positive, positive, torch.zeros_like(noise), disable_pbar=True
        )

    library, edits = pack("saeuron.features.feature_set"), pack("saeuron.edits.replace")
    sae, unet = random_sae(128, generator), pack("nodes.host.unet")
    site = unet.Site(unet.hookpoints_in(base.diffusion_model)["up_blocks.1.attentions.1"], "output")
    plain = run(model)
    for features, acts in ((range(sae.identity.n), [True]), ((), [False])):
        step = library.FeatureStep(None, tuple(library.Feature(index, mean_all=0.0) for index in features))
        replacement = edits.Replacement(library.FeatureSet("random", sae.identity, {}, {}, (step,)))
        patch = pack("nodes.host.replacing").ReplacementPatch(
            site, sae, replacement, texts["concept"], texts["instead"]
        )
        patched, passes = counting(pack("nodes.host.model").add_replacement(model, patch))
        assert changed(plain, run(patched)) == acts == gates(patched)
        assert len(passes.begun) == 2 + acts[0]


def random_sae(d, generator):
    import comfy.model_patcher

    library, cpu, n, k = pack("saeuron.sae.model"), torch.device("cpu"), 64, 16
    module = library.SparseAutoencoder(d, n, k).requires_grad_(False)
    for parameter in module.parameters():
        parameter.data.normal_(0, 1, generator=generator)
    patcher = comfy.model_patcher.ModelPatcher(module, load_device=cpu, offload_device=cpu)
    identity = library.SAEIdentity("", "sd15", "up_blocks.1.attentions.1", "output", d, n, k)
    return pack("nodes.host.sockets").HostedSAE(patcher, identity)
