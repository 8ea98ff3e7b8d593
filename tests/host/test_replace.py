"""Replace Concept on the host's own classes: what it does to a layer, and that everything else keeps its bits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from support.host_graph import hooked_blocks, load_feature_set, load_sae
from support.host_graph import replace as replace_node
from support.replacing import (
    CAT,
    ELSEWHERE,
    HOOKPOINT,
    SIDE,
    TOWER,
    Draw,
    changed,
    counting,
    decided,
    draw,
    encode,
    gates,
    watched_replacements,
)
from tools.pack import pack

TWO = Draw(batch=2)


def answer(attn, x, text):
    """The layer's answer to a text [1, s, c] for tokens [t, d], in float64, from its weights."""

    def heads(projected):
        return projected.unflatten(-1, (attn.heads, -1)).transpose(0, 1)

    weights = {name: attn.get_submodule(name).weight.double() for name in ("to_q", "to_k", "to_v", "to_out.0")}
    q, k, v = (heads(y.double() @ weights[n].T) for y, n in ((x, "to_q"), (text[0], "to_k"), (text[0], "to_v")))
    attended = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
    return attended.transpose(0, 1).flatten(1) @ weights["to_out.0"].T + attn.to_out[0].bias.double()


@pytest.mark.parametrize("strength", [100.0, 40.0])
@pytest.mark.parametrize(("block", "shrunk"), [("output_blocks.3.1", 1), ("output_blocks.0.1", 2)])
def test_a_layer_gives_what_the_formula_says(miniature, cat_to_dog, block, shrunk, strength):
    model = cat_to_dog(miniature[0], strength=strength)
    transformer = miniature[0].get_model_object("diffusion_model").get_submodule(block).transformer_blocks[0]
    seen: dict[str, torch.Tensor] = {}
    handles = [
        transformer.norm2.register_forward_hook(lambda _m, inputs, output: seen.update(before=inputs[0], x=output)),
        transformer.attn2.register_forward_hook(lambda _m, _inputs, output: seen.update(plain=output)),
        transformer.norm3.register_forward_pre_hook(lambda _m, inputs: seen.update(after=inputs[0])),
    ]
    try:
        draw(miniature, model, CAT, Draw(steps=1))
    finally:
        for handle in handles:
            handle.remove()
    (mask,) = decided(model).values()
    weights = strength / 100 * F.avg_pool2d(mask[None].double(), shrunk).flatten()
    instead, concept = (answer(transformer.attn2, seen["x"][0], encode(miniature, t)[0][0]) for t in ("a dog", "a cat"))
    change = weights[:, None] * (instead - concept)
    assert change.abs().max() > 0.1 * seen["plain"].abs().max(), "nothing to see here"
    found = seen["after"][0].double() - seen["before"][0].double()
    torch.testing.assert_close(found, seen["plain"][0].double() + change, atol=1e-5, rtol=1e-5)


def test_pictures_of_one_batch_gate_for_themselves(miniature, cat_to_dog):
    model, prompts = cat_to_dog(miniature[0]), encode(miniature, TOWER, CAT, "a wave", "a kitten")
    plain = draw(miniature, miniature[0], prompts, Draw(batch=4))
    assert changed(plain, draw(miniature, model, prompts, Draw(batch=4))) == gates(model) == [False, True, False, True]


def test_only_open_gates_leave_a_trace_and_only_in_their_run(miniature, cat_to_dog):
    """Runs with other prompts before and after, on the same MODEL, on its clones and on the base model."""
    base, model = miniature[0], cat_to_dog(miniature[0])
    plain = {text: draw(miniature, base, text) for text in (CAT, TOWER)}
    first = draw(miniature, model, CAT)
    assert changed(plain[CAT], first) == [True]
    assert torch.equal(draw(miniature, model, TOWER), plain[TOWER])
    assert decided(model)
    assert torch.equal(draw(miniature, model, CAT), first)
    assert torch.equal(draw(miniature, model.clone(), CAT), first)
    assert torch.equal(draw(miniature, cat_to_dog(base, strength=0.0), CAT), plain[CAT])
    assert torch.equal(draw(miniature, base, CAT), plain[CAT])
    assert not hooked_blocks(base)


def test_the_negative_half_is_left_alone(miniature, cat_to_dog):
    model, guided = cat_to_dog(miniature[0]), Draw(steps=2, cfg=3.0)
    plain = draw(miniature, miniature[0], TOWER, guided, CAT)
    assert torch.equal(draw(miniature, model, TOWER, guided, CAT), plain)
    with watched_replacements() as seen:
        model, passes = counting(model)
        draw(miniature, model, CAT, guided, CAT)
    assert set(passes.finished) == {2} and {len(rows) for _, _, rows, *_ in seen} == {1}


@pytest.mark.parametrize("size", [(104, 72), (72, 136), (40, 40)])
def test_sizes_that_do_not_halve_evenly(miniature, cat_to_dog, size):
    model, how = (
        cat_to_dog(miniature[0], sensitivity=10.0, growth=1),
        TWO._replace(steps=2, width=size[0], height=size[1]),
    )
    prompts = encode(miniature, CAT, TOWER)
    plain = draw(miniature, miniature[0], prompts, how)
    assert changed(plain, draw(miniature, model, prompts, how)) == gates(model) == [True, False]


def half(left=False, side=SIDE):
    mask = torch.zeros(1, side, side)
    mask[..., slice(0, side // 2) if left else slice(side // 2, side)] = 1
    return mask


def test_mask_growth_and_feather(miniature, cat_to_dog):
    def mask_of(**options):
        model = cat_to_dog(miniature[0], **options)
        draw(miniature, model, CAT, Draw(steps=1, width=128, height=128))
        return next(iter(decided(model).values()))

    bare = mask_of()
    assert set(bare.unique().tolist()) == {0, 1}
    limited = mask_of(mask=half(side=500))
    assert torch.equal(limited[:, 4:], bare[:, 4:]) and not limited[:, :4].any()
    grown, soft = mask_of(growth=1), mask_of(feather=1)
    assert torch.equal(grown, F.max_pool2d(bare[None], 3, 1, 1)[0]) and not torch.equal(grown, bare)
    assert torch.equal(soft, torch.maximum(bare, grown / 2))
    assert mask_of(mask=torch.zeros(1, 8, 8)) is None


def test_sensitivity_moves_the_gate(miniature, cat_to_dog):
    def opened(sensitivity):
        model = cat_to_dog(miniature[0], sensitivity=sensitivity)
        draw(miniature, model, CAT, Draw(steps=1))
        return gates(model)

    assert opened(1.0) == [True] and opened(0.1 / 2) == [False]


@pytest.mark.parametrize("percents", [(0.0, 0.4), (0.4, 1.0), (0.3, 0.6)])
def test_a_range_of_steps_detects_at_the_first_call_all_the_same(miniature, cat_to_dog, percents):
    """Later the picture shows more, but what the gate knows was learned at the first step."""
    start, end = percents
    whole, part = cat_to_dog(miniature[0]), cat_to_dog(miniature[0], start_percent=start, end_percent=end)
    how, sampling = Draw(steps=4), miniature[0].get_model_object("model_sampling")
    plain, replaced = (draw(miniature, model, CAT, how) for model in (miniature[0], whole))
    counted, passes = counting(part)
    with watched_replacements() as seen:
        found = draw(miniature, counted, CAT, how)
    assert changed(plain, found) == changed(replaced, found) == [True]
    for own, other in zip(decided(part).values(), decided(whole).values(), strict=True):
        assert torch.equal(own, other)
    import comfy.samplers

    sigmas = comfy.samplers.calculate_sigmas(sampling, "sgm_uniform", 4)[:4]
    acting = [sampling.percent_to_sigma(end) <= s <= sampling.percent_to_sigma(start) for s in sigmas.tolist()]
    assert 0 < sum(acting) < 4 and len(seen) == 11 * sum(acting)
    assert len(passes.begun) == 4 + acting[0]


def test_a_range_that_is_over_before_the_run_begins_is_off(miniature, cat_to_dog):
    plain = draw(miniature, miniature[0], CAT, Draw(denoise=0.3))
    model = cat_to_dog(miniature[0], end_percent=0.1)
    assert torch.equal(draw(miniature, model, CAT, Draw(denoise=0.3)), plain) and not decided(model)


@pytest.mark.parametrize("hookpoints", [(HOOKPOINT, HOOKPOINT), (HOOKPOINT, ELSEWHERE)])
def test_several_in_a_chain_find_what_each_finds_alone(miniature, cat_to_dog, hookpoints):
    """All of them look at the unedited first call, which is run again once at most."""

    def towers(model, hookpoint):
        file = "miniature/towers.json" if hookpoint == ELSEWHERE else f"miniature/{hookpoint}/towers.json"
        sae, tower = load_sae(hookpoint), load_feature_set(file)
        return replace_node(model, miniature[1], sae, tower, "a tower", "a tree")

    prompts = encode(miniature, CAT, TOWER, "a wave")
    how, base = Draw(batch=3), miniature[0]
    plain = draw(miniature, base, prompts, how)
    cats, tower = cat_to_dog(base, hookpoints[0]), towers(base, hookpoints[1])
    alone = [draw(miniature, model, prompts, how) for model in (cats, tower)]
    assert (gates(cats), gates(tower)) == ([True, False, False], [False, True, False])
    expected = torch.stack([alone[0][0], alone[1][1], plain[2]])
    for chained in (towers(cats, hookpoints[1]), cat_to_dog(tower, hookpoints[0])):
        counted, passes = counting(chained)
        assert torch.equal(draw(miniature, counted, prompts, how), expected)
        assert len(passes.begun) == 4 and len(passes.finished) == 3
    assert changed(plain, expected) == [True, True, False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_weights_of_other_types(cat_to_dog, monkeypatch, dtype):
    """As ``--bf16-unet``, ``--fp16-unet`` and ``--fp8_e4m3fn-unet`` load them."""
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "unet_dtype", lambda **_: dtype)
    loaded = tuple(pack("nodes.load").SaeuronLoadMiniature.execute().result)
    assert next(loaded[0].model.diffusion_model.parameters()).dtype == dtype
    prompts = encode(loaded, CAT, TOWER)
    plain = draw(loaded, loaded[0], prompts, TWO)
    assert changed(plain, draw(loaded, cat_to_dog(loaded[0]), prompts, TWO)) == [True, False]
    assert torch.equal(draw(loaded, cat_to_dog(loaded[0], instead="a cat"), prompts, TWO), plain)


def test_a_fault_in_the_middle_leaves_nothing_behind(miniature, cat_to_dog, monkeypatch):
    model = cat_to_dog(miniature[0])
    plain, replaced = (draw(miniature, m, CAT) for m in (miniature[0], model))
    replacing, calls = pack("nodes.host.replacing"), []

    def fail(*arguments):
        calls.append(1)
        if len(calls) == 14:  # in the second step
            raise RuntimeError("planted")
        return original(*arguments)

    original = replacing.replace_tokens
    monkeypatch.setattr(replacing, "replace_tokens", fail)
    with pytest.raises(RuntimeError, match="planted"):
        draw(miniature, model, CAT)
    monkeypatch.undo()
    assert not hooked_blocks(miniature[0])
    assert torch.equal(draw(miniature, miniature[0], CAT), plain)
    assert torch.equal(draw(miniature, model, CAT), replaced)


def test_texts_that_can_not_stand_in_are_refused_in_words(miniature):
    loaded, cats = load_sae(HOOKPOINT), load_feature_set(f"miniature/{HOOKPOINT}/cats.json")
    execute, cat = pack("nodes.replace").SaeuronReplace.execute, encode(miniature, "a cat")
    for text, found in (
        (cat + cat, "2 prompts.*CLIP Text Encode"),
        ([], "0 prompts.*CLIP Text Encode"),
        (encode(miniature, "a cat", "a dog"), "2 prompts.*CLIP Text Encode"),
        ([[torch.zeros(1, 77, 768), {}]], "768 wide.*texts of 128.*Use the CLIP"),
    ):
        for texts, name in (((text, cat), "concept"), ((cat, text), "instead")):
            with pytest.raises(ValueError, match=f"input {name} .*{found}"):
                execute(miniature[0], loaded, cats, *texts, 100.0, 1.0, 0, 0, start_percent=0.0, end_percent=1.0)
