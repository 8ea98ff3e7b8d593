"""Replace Concept with look_first: the place comes from the finished picture, and all else of it stays, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from support.host_graph import in_context_windows, load_feature_set, load_sae
from support.host_graph import replace as replace_node
from support.replacing import (
    CAT,
    HOOKPOINT,
    SIDE,
    TOWER,
    TWO,
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


@pytest.fixture(scope="module")
def cat_and_tower(miniature):
    return encode(miniature, CAT, TOWER)


@pytest.fixture
def looking(cat_to_dog):
    return lambda model, **options: cat_to_dog(model, look_first=True, **options)


LEFT = torch.zeros(1, SIDE, SIDE).index_fill(2, torch.arange(SIDE // 2), 1.0)


def free(model, latents):
    """bool [B, 1, h, w]: what was drawn again in the last run, by the masks of all replacements."""
    edits = pack("saeuron.edits.replace")
    masks = [
        {part: edits.may_change(mask[None])[0] for part, mask in decided(model, number).items() if mask is not None}
        for number in range(len(pack("nodes.host.model").attached(model).replacements))
    ]
    return pack("nodes.host.replacement_masks").unite(masks, latents)[:, None] > 0


def assert_rest_stays(model, plain, drawn):
    """Something changed, and nothing but what is free."""
    may = free(model, plain).expand_as(plain)
    assert not may.all(), "nothing is held"
    assert torch.equal(plain[~may], drawn[~may]) and not torch.equal(plain[may], drawn[may])


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("euler", "sgm_uniform"), ("euler_ancestral", "normal"), ("dpmpp_2m_sde", "karras"), ("uni_pc", "normal")],
)
def test_what_is_not_replaced_keeps_its_bits(miniature, looking, cat_and_tower, sampler, scheduler):
    """Also under samplers that take noise on the way: the second time the same."""
    how = TWO._replace(sampler=sampler, scheduler=scheduler)
    model = looking(miniature[0])
    plain, drawn = (draw(miniature, m, cat_and_tower, how) for m in (miniature[0], model))
    assert gates(model) == [True, False]
    assert_rest_stays(model, plain, drawn)
    assert torch.equal(drawn, draw(miniature, model, cat_and_tower, how)), "another run, another picture"


def test_a_sampler_that_chooses_its_own_steps(miniature, looking):
    model, how = looking(miniature[0], mask=LEFT), Draw(sampler="dpm_adaptive")
    assert_right_stays(draw(miniature, miniature[0], CAT, how), draw(miniature, model, CAT, how))


def assert_right_stays(plain, drawn):
    assert torch.equal(*(latents.chunk(2, -1)[1] for latents in (plain, drawn)))
    assert not torch.equal(*(latents.chunk(2, -1)[0] for latents in (plain, drawn)))


def test_a_mask_bounds_what_may_change(miniature, looking):
    """The margin, too."""
    assert_right_stays(draw(miniature, miniature[0], CAT), draw(miniature, looking(miniature[0], mask=LEFT), CAT))


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_without_the_concept_it_is_drawn_once_and_leaves_no_trace(miniature, looking, sampler):
    """Not even in torch's random numbers."""
    how, after = Draw(sampler=sampler), []
    plain, passes = counting(looking(miniature[0]))
    for model in (miniature[0], plain):
        torch.manual_seed(3)
        after.append((draw(miniature, model, TOWER, how), torch.rand(1)))
    assert torch.equal(after[0][0], after[1][0]) and torch.equal(after[0][1], after[1][1])
    assert len(passes.begun) == how.steps


def test_it_is_drawn_twice_and_edited_the_second_time_only(miniature, looking, cat_and_tower):
    model, passes = counting(looking(miniature[0]))
    with watched_replacements() as seen:
        draw(miniature, model, cat_and_tower, TWO)
    assert len(passes.begun) == len(passes.finished) == 2 * TWO.steps
    assert {row for one in seen for row in one.rows} == {0}
    assert len(seen) % TWO.steps == 0 and len(seen) // TWO.steps == len({id(one.attn) for one in seen})


def between_classes(values, upper):
    """Otsu's variance between two classes of `values`."""
    share = upper.float().mean()
    return float(share * (1 - share) * (values[upper].mean() - values[~upper].mean()) ** 2)


def test_the_mask_is_what_the_last_call_saw(miniature, looking):
    """By the formula, from the codes of a run that is not edited."""
    model_of = pack("nodes.host.model")
    sae, features = load_sae(HOOKPOINT), load_feature_set(f"miniature/{HOOKPOINT}/cats.json")
    codes = []
    site = pack("nodes.host.unet").find_site(miniature[0], sae.identity)
    recorder = model_of.Recorder(site, sae, lambda call, _rows, seen: codes.append((call.sigma, seen)))
    draw(miniature, model_of.add_recorder(miniature[0], recorder), CAT)
    model = looking(miniature[0])
    draw(miniature, model, CAT)
    sigma, last = codes[-1]
    chosen, _ = features.marking(sigma, last.values.device)
    total = sum((last.values * (last.indices == index)).sum(-1) for index in chosen)
    (mask,) = decided(model).values()
    values = total.flatten().unique()[:-1].tolist()
    cut = max(values, key=lambda value: between_classes(total, total > value))
    assert torch.equal(mask, pack("saeuron.edits.masks").grow_small((total > cut).float())[0])


def test_what_only_the_picture_shows_is_found_when_it_is_seen(miniature):
    """As if no word had asked for it: the gate of the first call never opens, that of pictures may."""
    sae, features = load_sae(HOOKPOINT), load_feature_set(f"miniature/{HOOKPOINT}/cats.json")
    assert features.detector is not None and features.detector.pictures is not None
    deaf = replace(features.detector, gate=1.0)
    blind = replace(deaf, pictures=None)
    plain = draw(miniature, miniature[0], encode(miniature, CAT, TOWER), TWO)
    for own, expected in ((deaf, [True, False]), (blind, [False, False])):
        features = replace(features, detector=own)
        model = replace_node(*miniature[:2], sae, features, "a cat", "a dog", look_first=True)
        drawn = draw(miniature, model, encode(miniature, CAT, TOWER), TWO)
        assert changed(plain, drawn) == gates(model) == expected


def test_what_is_recorded_and_counted_is_of_the_picture_that_comes_out(miniature, looking, cat_and_tower):
    model_of, calls = pack("nodes.host.model"), []
    sae = load_sae(HOOKPOINT)
    site = pack("nodes.host.unet").find_site(miniature[0], sae.identity)
    recorder = model_of.Recorder(site, sae, lambda call, rows, codes: calls.append((call.step, codes.values)))
    for prompts, model in ((CAT, looking(miniature[0])), (TOWER, looking(miniature[0]))):
        calls.clear()
        draw(miniature, model_of.add_recorder(model, recorder), prompts)
        assert [step for step, _ in calls] == list(range(TWO.steps))


@pytest.mark.parametrize(
    "how",
    [
        TWO._replace(denoise=0.6),
        TWO._replace(inpaint=True),
        TWO._replace(cfg=2.0),
        TWO._replace(width=SIDE + 24, height=SIDE + 40),
    ],
    ids=["from a picture", "inpainting", "cfg 2", "other sizes"],
)
def test_other_runs(miniature, looking, cat_and_tower, how):
    model = looking(miniature[0], sensitivity=2.0)
    plain, drawn = (draw(miniature, m, cat_and_tower, how) for m in (miniature[0], model))
    assert changed(plain, drawn) == gates(model) == [True, False]
    assert_rest_stays(model, plain, drawn)


def test_a_run_in_two_parts(miniature, looking):
    """The first leaves its noise, the second is given none: it has the noise that is in its latents."""
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as host

    sigmas, euler = torch.tensor([14.6, 6.0, 1.0, 0.0]), comfy.samplers.sampler_object("euler")
    conditioning = encode(miniature, CAT)

    def part(model, noise, sigmas, latents):
        guider = host.BasicGuider.execute(model, conditioning).result[0]
        latent = {"samples": latents}
        return host.SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).result[0]["samples"]

    noise, none = host.RandomNoise.execute(5).result[0], host.DisableNoise.execute().result[0]
    model, empty = looking(miniature[0], mask=LEFT), torch.zeros(1, 4, SIDE // 8, SIDE // 8)
    begun = part(miniature[0], noise, sigmas[:2], empty)
    assert_right_stays(begun, part(model, noise, sigmas[:2], empty))
    assert_right_stays(part(miniature[0], none, sigmas[1:], begun), part(model, none, sigmas[1:], begun))


def test_several_at_once_and_beside_one_that_does_not_look(miniature, looking, cat_and_tower):
    towers = load_sae(HOOKPOINT), load_feature_set(f"miniature/{HOOKPOINT}/towers.json")

    def no_towers(model, look_first):
        return replace_node(model, miniature[1], *towers, "a tower", "a tree", look_first=look_first)

    plain = draw(miniature, miniature[0], cat_and_tower, TWO)
    both = no_towers(looking(miniature[0]), look_first=True)
    assert_rest_stays(both, plain, draw(miniature, both, cat_and_tower, TWO))
    assert gates(both, 0) == [True, False] and gates(both, 1) == [False, True]
    mixed = no_towers(looking(miniature[0]), look_first=False)
    alone = no_towers(miniature[0], look_first=False)
    drawn, without_towers = (draw(miniature, model, cat_and_tower, TWO) for model in (mixed, alone))
    assert changed(without_towers, drawn) == [True, False]


def test_areas_and_context_windows(miniature, looking):
    from nodes import ConditioningCombine, ConditioningSetArea

    halves = [
        ConditioningSetArea().append(encode(miniature, text), SIDE, SIDE, x, 0, 1.0)[0]
        for text, x in ((TOWER, 0), (CAT, SIDE))
    ]
    how, model = Draw(width=2 * SIDE), looking(miniature[0])
    conditioning = ConditioningCombine().combine(*halves)[0]
    plain, drawn = (draw(miniature, m, conditioning, how) for m in (miniature[0], model))
    assert_rest_stays(model, plain, drawn)
    assert not free(model, plain)[..., : SIDE // 8].any(), "what is replaced lies in the other area"

    windows = [in_context_windows(m, 2, 0) for m in (miniature[0], looking(miniature[0]))]
    four = encode(miniature, CAT)
    plain, drawn = (draw(miniature, m, four, Draw(batch=4, steps=3)) for m in windows)
    assert_rest_stays(windows[1], plain, drawn)


def test_a_fault_while_looking_leaves_nothing_behind(miniature, looking, monkeypatch):
    model, edits = looking(miniature[0]), pack("nodes.host.replacing")
    good = draw(miniature, model, CAT)

    def fails(*_):
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="gone"):
        patch.setattr(edits, "see", fails)
        draw(miniature, model, CAT)
    assert torch.equal(good, draw(miniature, model, CAT))
