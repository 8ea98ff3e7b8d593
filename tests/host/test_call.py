"""What an edit is told about a call of the UNet: the host's own guiders, areas and windows, other packs' wrappers."""

from __future__ import annotations

import pytest
import torch

from support.guiders import basic, cfg, dual, nested_dual, perp_neg
from support.host_graph import Shot, Spy, in_context_windows, sample, steer, unlearn
from support.other_packs import copied, known_arguments_only, one_by_one, reordered, stacked, tiles, wrapped
from tools.pack import pack

SIDE = 128  # pixels: 16 x 16 latents, 4 x 4 tokens at the hookpoint
PROMPTS = {"positive": "a cat in twemoji style", "negative": "a dog", "middle": "a tree", "empty": ""}
SHORT = Shot(steps=1, width=SIDE, height=SIDE)
GUIDED = Shot(steps=1, cfg=2.0, width=SIDE, height=SIDE)


@pytest.fixture
def texts(miniature):
    clip = miniature[1]
    return {name: clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for name, prompt in PROMPTS.items()}


@pytest.fixture
def draw(miniature, texts):
    """Draws with a guider that `guider_of(model, texts)` makes."""
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as host

    def run(model, guider_of, batch=1):
        noise, sampler = host.RandomNoise.execute(5).result[0], comfy.samplers.sampler_object("euler")
        sigmas = host.BasicScheduler.execute(model, "sgm_uniform", 1, 1.0).result[0]
        latent = {"samples": torch.zeros(batch, 4, SIDE // 8, SIDE // 8)}
        guider = guider_of(model, texts)
        return host.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]

    return run


def unknown(model, texts):
    import comfy.samplers

    class OtherGuider(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            conds = [self.conds["wanted"], self.conds["unwanted"]]
            wanted, unwanted = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
            return unwanted + 2 * (wanted - unwanted)

    guider = OtherGuider(model)
    guider.inner_set_conds({"wanted": texts["positive"], "unwanted": texts["negative"]})
    return guider


def edited_prompts(draw, miniature, model, texts, guider_of):
    """The prompts whose rows were changed, told by the text that each row was drawn with."""
    seen = []

    def look(apply, args):
        seen.append(args["c"]["c_crossattn"])
        return apply(args["input"], args["timestep"], **args["c"])

    watched = model.clone()
    watched.set_model_unet_function_wrapper(look)
    with Spy(miniature[0]) as spy:
        draw(watched, guider_of)
    found = set()
    for rows, output, edited in zip(seen, spy.outputs, spy.edited, strict=True):
        for row, before, after in zip(rows, output, edited, strict=True):
            if not torch.equal(before, after):
                found |= {name for name, text in texts.items() if torch.allclose(text[0][0][0], row.to(text[0][0]))}
    return found


@pytest.mark.parametrize(
    ("guider_of", "halves", "edited"),
    [
        (cfg, "positive", {"positive"}),
        (cfg, "negative", {"negative"}),
        (basic, "positive", {"positive"}),
        (basic, "negative", set()),
        (dual, "positive", {"positive", "middle"}),
        (dual, "negative", {"negative"}),
        (nested_dual, "positive", {"positive", "middle"}),
        (nested_dual, "negative", {"negative"}),
        (perp_neg, "positive", {"positive"}),
        (perp_neg, "negative", {"negative"}),
        (perp_neg, "both", {"positive", "negative", "empty"}),
        (unknown, "both", {"positive", "negative"}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_half_is_the_guiders_conditioning_of_that_name(draw, miniature, sae, texts, guider_of, halves, edited):
    model = steer(miniature[0], sae, "3: 40", halves=halves)
    assert edited_prompts(draw, miniature, model, texts, guider_of) == edited


def test_an_unknown_guider_is_refused_by_name_where_halves_matter(draw, miniature, sae):
    with pytest.raises(ValueError, match=r"OtherGuider has conditionings named '(un)?wanted'.*halves to both"):
        draw(steer(miniature[0], sae, "3: 40", halves="positive"), unknown)


def half_mask(side=SIDE, left=False):
    mask = torch.zeros(1, side, side)
    mask[:, :, slice(0, side // 2) if left else slice(side // 2, side)] = 1
    return mask


def edited_columns(miniature, model, positive):
    """For each row of each call, the width of its tokens and the columns that were changed."""
    from nodes import KSampler

    latent = {"samples": torch.zeros(1, 4, SIDE // 8, SIDE // 8)}
    with Spy(miniature[0]) as spy:
        KSampler().sample(model, 5, 1, 1.0, "euler", "sgm_uniform", positive, positive, latent, 1.0)
    return sorted(
        (output.shape[-1], tuple(sorted(set((before != after).any(0).nonzero()[:, 1].tolist()))))
        for output, edited in zip(spy.outputs, spy.edited, strict=True)
        for before, after in zip(output, edited, strict=True)
    )


@pytest.mark.parametrize("resolution", [SIDE, 64, 1000])
def test_a_mask_is_cut_as_the_host_cuts_the_latent(miniature, sae, texts, resolution):
    from nodes import ConditioningCombine, ConditioningSetArea, ConditioningSetMask

    combine = ConditioningCombine().combine
    left, right = (
        ConditioningSetArea().append(texts["positive"], SIDE // 2, SIDE, x, 0, 1.0)[0] for x in (0, SIDE // 2)
    )
    bounds = ConditioningSetMask().append(texts["positive"], half_mask(left=True), "mask bounds", 1.0)[0]
    default = ConditioningSetMask().append(texts["positive"], half_mask(left=True), "default", 1.0)[0]
    model = steer(miniature[0], sae, "3: 40", mask=half_mask(resolution))
    whole = (4, (2, 3))
    assert edited_columns(miniature, model, texts["positive"]) == [whole]
    assert edited_columns(miniature, model, combine(left, right)[0]) == [(2, ()), (2, (0, 1))]
    assert edited_columns(miniature, model, combine(left, texts["empty"])[0]) == [(2, ()), whole]
    assert edited_columns(miniature, model, combine(bounds, texts["empty"])[0]) == [(2, ()), whole]
    assert edited_columns(miniature, model, default) == [whole]


def test_each_picture_of_a_context_window_takes_its_own_mask(miniature, sae):
    masks = torch.zeros(5, SIDE, SIDE)
    masks[3] = 1
    windows = in_context_windows(miniature[0], length=2, overlap=1)
    # The host compares the noise levels of the pictures with those of the schedule one by one: as many of each.
    shot = Shot(steps=4, batch=5, width=SIDE, height=SIDE)
    plain = sample(miniature, windows, shot)
    edited = sample(miniature, steer(windows, sae, "3: 40", mask=masks), shot)
    assert [not torch.equal(a, b) for a, b in zip(plain, edited, strict=True)] == [False, False, False, True, False]


@pytest.mark.parametrize("wrapper", [one_by_one, reordered, copied, stacked], ids=lambda wrapper: wrapper.__name__)
@pytest.mark.parametrize("options", [{}, {"halves": "positive"}, {"halves": "negative"}, {"mask": True}], ids=str)
def test_rows_that_another_pack_moves_keep_their_edit(miniature, sae, wrapper, options, caplog):
    if "mask" in options:
        options = {"mask": torch.stack([torch.zeros(SIDE, SIDE), half_mask()[0]])}
    shot = GUIDED._replace(batch=2)
    model = steer(miniature[0], sae, "3: 400", **options)
    expected, found = sample(miniature, model, shot), sample(miniature, wrapped(model, wrapper), shot)
    assert not torch.allclose(found, sample(miniature, miniature[0], shot), atol=0.01)
    torch.testing.assert_close(found, expected, atol=0.002, rtol=0)
    assert "no effect" not in caplog.text


@pytest.mark.parametrize("wrapper", [known_arguments_only, tiles], ids=lambda wrapper: wrapper.__name__)
def test_where_rows_can_not_be_told_apart_only_what_needs_it_is_refused(miniature, sae, cats, wrapper):
    model, plain = miniature[0], sample(miniature, wrapped(miniature[0], wrapper), GUIDED)
    assert not torch.equal(sample(miniature, wrapped(steer(model, sae, "3: 40"), wrapper), GUIDED), plain)
    with pytest.raises(ValueError, match="custom node"):
        sample(miniature, wrapped(steer(model, sae, "3: 40", mask=half_mask()), wrapper), GUIDED)
    if wrapper is known_arguments_only:
        with pytest.raises(ValueError, match="which rows of the batch belong to the positive prompt"):
            sample(miniature, wrapped(unlearn(model, sae, cats, halves="positive"), wrapper), GUIDED)


@pytest.mark.parametrize("options", [{}, {"halves": "positive"}], ids=str)
def test_a_model_that_is_called_without_a_guider(miniature, sae, texts, options):
    """As nodes do that call ``apply_model`` themselves, with the little that they know."""
    import comfy.model_management

    model = steer(miniature[0], sae, "3: 40", **options)
    comfy.model_management.load_models_gpu([model, sae.patcher])
    context, pooled = texts["positive"][0][0], texts["positive"][0][1]["pooled_output"]
    y = model.model.encode_adm(pooled_output=pooled, width=SIDE, height=SIDE)
    options_of_call = {"wrappers": model.wrappers, "sigmas": torch.tensor([1.0])}

    def call(transformer_options):
        x = torch.zeros(1, 4, 16, 16)
        return model.model.apply_model(
            x, torch.tensor([1.0]), c_crossattn=context, y=y, transformer_options=transformer_options
        )

    if options:
        with pytest.raises(ValueError, match="not started by one of ComfyUI's guiders"):
            call(options_of_call)
    else:
        assert not torch.equal(call(options_of_call), call({}))


def test_the_schedule_is_read_once_a_run(miniature, sae, cats, monkeypatch):
    reads = []
    for module in ("nodes.host.call", "nodes.host.runs"):
        read = pack(module).read_schedule
        monkeypatch.setattr(pack(module), "read_schedule", lambda sigmas, read=read: (reads.append(1), read(sigmas))[1])
    sample(miniature, steer(unlearn(miniature[0], sae, cats), sae, "3: 4"), Shot(steps=4, cfg=2.0, width=64, height=64))
    assert len(reads) == 1
