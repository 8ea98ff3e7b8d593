"""Replace Concept under every sampler, guider and kind of conditioning: it acts where the concept is, nowhere else."""

from __future__ import annotations

import pytest
import torch

from support.guiders import cfg, dual, nested_dual, perp_neg
from support.host_graph import in_context_windows
from support.other_packs import (
    copied,
    known_arguments_only,
    one_by_one,
    reordered,
    stacked,
    tiles,
    with_own_pass,
    wrapped,
)
from support.replacing import (
    CAT,
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

LAYERS = 11


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("euler_ancestral", "normal"),
        ("heun", "karras"),
        ("dpm_2", "exponential"),
        ("lms", "beta"),
        ("dpm_fast", "simple"),
        ("dpmpp_2m", "karras"),
        ("dpmpp_sde", "normal"),
        ("dpmpp_2m_sde", "sgm_uniform"),
        ("lcm", "ddim_uniform"),
        ("res_multistep", "linear_quadratic"),
        ("sa_solver", "kl_optimal"),
        ("ddim", "simple"),
        ("uni_pc", "normal"),
    ],
)
def test_samplers_and_schedules(miniature, cat_to_dog, cat_and_tower, sampler, scheduler):
    how = TWO._replace(sampler=sampler, scheduler=scheduler)
    (base, plain_passes), (model, passes) = counting(miniature[0]), counting(cat_to_dog(miniature[0]))
    plain = draw(miniature, base, cat_and_tower, how)
    assert changed(plain, draw(miniature, model, cat_and_tower, how)) == [True, False]
    assert len(passes.begun) == len(plain_passes.begun) + 1 and passes.finished == plain_passes.finished


def test_a_sampler_that_chooses_its_own_steps(miniature, cat_to_dog):
    """From all pictures together, so each alone here."""
    for prompt, acts in ((CAT, [True]), (TOWER, [False])):
        how = Draw(sampler="dpm_adaptive")
        plain = draw(miniature, miniature[0], prompt, how)
        assert changed(plain, draw(miniature, cat_to_dog(miniature[0]), prompt, how)) == acts


def test_restarts_keep_what_was_found(miniature, cat_to_dog, cat_and_tower):
    """The noise level rises again: it is the same run, and the concept is no longer drawn by then."""
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as host

    sigmas, euler = torch.tensor([14.6, 4.0, 1.0, 6.0, 1.0, 14.6, 0.5, 0.0]), comfy.samplers.sampler_object("euler")

    def run(model):
        guider = host.BasicGuider.execute(model, cat_and_tower).result[0]
        noise, latent = host.RandomNoise.execute(5).result[0], {"samples": torch.zeros(2, 4, SIDE // 8, SIDE // 8)}
        return host.SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).result[0]["samples"]

    (model, passes) = counting(cat_to_dog(miniature[0]))
    assert changed(run(miniature[0]), run(model)) == [True, False]
    assert len(passes.begun) == len(sigmas)  # one for each but the last, and one more


@pytest.mark.parametrize("guider_of", [cfg, dual, nested_dual, perp_neg])
@pytest.mark.parametrize("place", ["positive", "middle", "negative", "empty"])
def test_only_what_is_asked_for_is_replaced(miniature, cat_to_dog, guider_of, place):
    """The cat in each of a guider's conditionings in turn, other things in the others."""
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as host

    others = {"positive": TOWER, "middle": "a flower", "negative": "a bear", "empty": ""}
    texts = {name: encode(miniature, CAT if name == place else text) for name, text in others.items()}

    def run(model):
        noise, euler = host.RandomNoise.execute(5).result[0], comfy.samplers.sampler_object("euler")
        latent, sigmas = {"samples": torch.zeros(1, 4, SIDE // 8, SIDE // 8)}, torch.tensor([14.6, 1.0, 0.0])
        return host.SamplerCustomAdvanced.execute(noise, guider_of(model, texts), euler, sigmas, latent).result[0][
            "samples"
        ]

    asked_for = place == "positive" or (place == "middle" and guider_of in (dual, nested_dual))
    assert changed(run(miniature[0]), run(cat_to_dog(miniature[0]))) == [asked_for]


@pytest.mark.parametrize(
    "how", [TWO._replace(denoise=0.6), TWO._replace(inpaint=True), TWO._replace(denoise=0.6, inpaint=True)]
)
def test_pictures_that_begin_late_or_are_kept_in_part(miniature, cat_to_dog, cat_and_tower, how):
    model = cat_to_dog(miniature[0])
    plain, found = (draw(miniature, m, cat_and_tower, how) for m in (miniature[0], model))
    assert changed(plain, found) == gates(model) == [True, False]
    if how.inpaint:
        assert torch.equal(plain[..., : SIDE // 16], found[..., : SIDE // 16])


def test_areas_gate_for_themselves(miniature, cat_to_dog):
    from nodes import ConditioningCombine, ConditioningSetArea

    left, right = (
        ConditioningSetArea().append(encode(miniature, text), SIDE, SIDE, x, 0, 1.0)[0]
        for text, x in ((CAT, 0), (TOWER, SIDE))
    )
    both, how = ConditioningCombine().combine(left, right)[0], Draw(width=2 * SIDE)
    plain, model = draw(miniature, miniature[0], both, how), cat_to_dog(miniature[0])
    found = draw(miniature, model, both, how)
    assert gates(model) == [True, False]
    half = SIDE // 8
    assert torch.equal(found[..., half:], plain[..., half:]) and not torch.equal(found[..., :half], plain[..., :half])

    mask = torch.zeros(1, SIDE, 2 * SIDE)
    mask[..., SIDE:] = 1  # where the tower is
    assert torch.equal(draw(miniature, cat_to_dog(miniature[0], mask=mask), both, how), plain)
    mask[..., SIDE // 2 :] = 1  # half of the cat, too
    model = cat_to_dog(miniature[0], mask=mask, growth=4)
    assert changed(plain, draw(miniature, model, both, how)) == [True]
    (cat,) = (weights for weights in decided(model).values() if weights is not None)
    assert not cat[:, :2].any() and cat[:, 2:].all()


def test_conditionings_that_are_combined_gate_for_themselves(miniature, cat_to_dog):
    from nodes import ConditioningCombine, ConditioningSetMask

    combine, tower, cat = ConditioningCombine().combine, encode(miniature, TOWER), encode(miniature, CAT)
    top = torch.zeros(1, SIDE, SIDE)
    top[:, : SIDE // 2] = 1
    for area in ("default", "mask bounds"):
        both = combine(tower, ConditioningSetMask().append(cat, top, area, 1.0)[0])[0]
        model, plain = cat_to_dog(miniature[0]), draw(miniature, miniature[0], both)
        with watched_replacements() as seen:
            assert changed(plain, draw(miniature, model, both)) == [True]
        assert gates(model) == [False, True]
        assert all(len(call.rows) == 1 for call in seen)


def test_a_prompt_that_appears_late_is_looked_at_then(miniature, cat_to_dog):
    from nodes import ConditioningCombine, ConditioningSetTimestepRange

    def between(text, start, end):
        return ConditioningSetTimestepRange().set_range(encode(miniature, text), start, end)[0]

    combine, how = ConditioningCombine().combine, Draw(steps=4)
    for first, opened, passes_begun, rows in (
        (between(TOWER, 0.0, 0.5), [False, True], 5, {1}),  # one after the other
        (encode(miniature, CAT), [True, True], 6, {1, 2}),  # beside one that is replaced already
    ):
        scheduled = combine(first, between("a kitten", 0.5, 1.0))[0]
        model, passes = counting(cat_to_dog(miniature[0]))
        with watched_replacements() as seen:
            assert changed(draw(miniature, miniature[0], scheduled, how), draw(miniature, model, scheduled, how)) == [
                True
            ]
        assert gates(model) == opened and len(passes.begun) == passes_begun
        assert {len(call.rows) for call in seen} == rows
        # The late one is edited in its first call already, which is run again for it.
        late = [len(call.rows) for call in seen[-2 * LAYERS :]]
        assert set(late) == {max(rows)}


def test_each_picture_of_a_context_window_gates_for_itself(miniature, cat_to_dog):
    """The host draws all windows with the same texts, so a mask tells the pictures apart."""
    windows = in_context_windows(miniature[0], length=2, overlap=1)
    masks = torch.zeros(5, SIDE, SIDE)
    masks[3] = 1
    how, model = Draw(steps=4, batch=5), cat_to_dog(windows, mask=masks)
    plain = draw(miniature, windows, CAT, how)
    assert changed(plain, draw(miniature, model, CAT, how)) == gates(model) == [False, False, False, True, False]


@pytest.mark.parametrize("wrapper", [one_by_one, reordered, copied, stacked], ids=lambda wrapper: wrapper.__name__)
def test_rows_that_another_pack_moves(miniature, cat_to_dog, cat_and_tower, wrapper):
    how, model = TWO._replace(cfg=2.0), cat_to_dog(miniature[0])
    expected = draw(miniature, model, cat_and_tower, how)
    plain, found = (draw(miniature, wrapped(m, wrapper), cat_and_tower, how) for m in (miniature[0], model))
    assert changed(plain, found) == gates(model) == [True, False]
    torch.testing.assert_close(found, expected, atol=0.002, rtol=0)


def test_a_pack_that_hides_the_rows_is_named(miniature, cat_to_dog, cat_and_tower):
    for wrapper in (known_arguments_only, tiles):
        with pytest.raises(ValueError, match=r"custom node.*Remove that node"):
            draw(miniature, wrapped(cat_to_dog(miniature[0]), wrapper), cat_and_tower, TWO)


def test_a_pack_that_draws_without_the_block_is_told(miniature, cat_to_dog, caplog):
    bypassed = with_own_pass(cat_to_dog(miniature[0]), (1, 2, 3))
    assert torch.equal(draw(miniature, bypassed, CAT), draw(miniature, miniature[0], CAT))
    assert "Replace Concept had no effect" in caplog.text
    caplog.clear()
    draw(miniature, cat_to_dog(miniature[0]), TOWER)
    assert "no effect" not in caplog.text
