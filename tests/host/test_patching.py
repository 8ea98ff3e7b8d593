"""The Unlearn node on the host's own model classes: exact where it acts, without a trace where it does not."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from support.host_graph import Shot, Spy, hooked_blocks, load_feature_set, load_sae, sample, unlearn
from tools.pack import pack

SHOTS = [
    Shot(),
    Shot(batch=3),
    Shot(cfg=2.0, batch=2, width=96, height=160),
    Shot(sampler="euler_ancestral"),
    Shot(sampler="dpmpp_2m", scheduler="karras", cfg=2.0),
    Shot(sampler="heun"),
]


def tokens(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)  # BCHW -> BHWC


@pytest.mark.parametrize("shot", SHOTS, ids=str)
def test_every_call_of_the_block_is_edited_as_the_library_says(miniature, sae, cats, shot):
    model = miniature[0]
    intervene = pack("saeuron.edits.intervention").intervene
    intervention = pack("saeuron.edits.intervention").Intervention(cats, -20.0)
    before = sample(miniature, model, shot)
    with Spy(model) as spy:
        after = sample(miniature, unlearn(model, sae, cats), shot)
    assert not torch.equal(before, after)
    assert spy.outputs
    changed = 0
    for block_input, output, edited in zip(spy.inputs, spy.outputs, spy.edited, strict=True):
        expected = intervene(sae.module, "update", [intervention], 1.0, tokens(block_input), tokens(output))
        assert torch.equal(tokens(edited), expected)
        changed += int(not torch.equal(edited, output))
    assert changed


# The host puts the negative half first at cfg > 1: cond_or_uncond is [1, 0].
@pytest.mark.parametrize(
    ("halves", "own", "other"), [("positive", slice(2, 4), slice(2)), ("negative", slice(2), slice(2, 4))]
)
def test_halves_edit_only_their_rows(miniature, sae, cats, halves, own, other):
    model = miniature[0]
    with Spy(model) as spy:
        sample(miniature, unlearn(model, sae, cats, halves=halves), Shot(cfg=2.0, batch=2), text="a cat")
    changed = [(output != edited).flatten(1).any(1) for output, edited in zip(spy.outputs, spy.edited, strict=True)]
    assert all(not rows[other].any() for rows in changed), "the other half was edited"
    assert any(rows[own].any() for rows in changed), "nothing was edited"


def test_at_cfg_1_the_negative_half_does_not_exist(miniature, sae, cats):
    model = miniature[0]
    patched = unlearn(model, sae, cats, halves="negative")
    assert torch.equal(sample(miniature, patched, Shot()), sample(miniature, model, Shot()))


def test_start_and_end_percent_bound_the_steps(miniature, sae, cats):
    model = miniature[0]
    with Spy(model) as spy:
        sample(miniature, unlearn(model, sae, cats, end_percent=0.3), Shot(steps=3))
    changed = [not torch.equal(a, b) for a, b in zip(spy.outputs, spy.edited, strict=True)]
    assert changed[0] and not changed[-1]
    with Spy(model) as spy:
        sample(miniature, unlearn(model, sae, cats, start_percent=0.6), Shot(steps=3))
    changed = [not torch.equal(a, b) for a, b in zip(spy.outputs, spy.edited, strict=True)]
    assert changed[-1] and not changed[0]


def never_fires(cats):
    from dataclasses import replace

    step = cats.steps[0]
    return replace(cats, steps=(replace(step, features=tuple(replace(f, mean_all=1e9) for f in step.features)),))


@pytest.mark.parametrize("shot", [Shot(), Shot(cfg=2.0, batch=2), Shot(sampler="euler_ancestral")], ids=str)
def test_what_changes_nothing_is_bit_identical(miniature, sae, cats, shot):
    model = miniature[0]
    plain = sample(miniature, model, shot)
    for patched in (
        unlearn(model, sae, never_fires(cats)),
        unlearn(model, sae, cats, 1.0, rule="gamma"),
        unlearn(model, sae, cats, start_percent=0.0, end_percent=0.0, rule="gamma", multiplier=1.0),
    ):
        assert torch.equal(sample(miniature, patched, shot), plain)


def test_base_and_siblings_never_see_an_edit(miniature, sae, cats):
    model = miniature[0]
    plain = sample(miniature, model, Shot())
    sibling = model.clone()
    patched = unlearn(model, sae, cats)
    edited = sample(miniature, patched, Shot())
    assert not torch.equal(edited, plain)
    assert torch.equal(sample(miniature, model, Shot()), plain)
    assert torch.equal(sample(miniature, sibling, Shot()), plain)
    assert torch.equal(sample(miniature, patched, Shot()), edited)
    assert not hooked_blocks(model)
    assert model.get_attachment("saeuron") is None and not model.additional_models


def test_no_hook_stays_after_an_exception(miniature, sae, cats):
    model = miniature[0]
    plain = sample(miniature, model, Shot())
    unet = model.get_model_object("diffusion_model")

    def fail(*_):
        raise RuntimeError("planted")

    handle = unet.get_submodule("output_blocks.4.0").register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="planted"):
        sample(miniature, unlearn(model, sae, cats), Shot())
    handle.remove()
    assert not hooked_blocks(model)
    assert torch.equal(sample(miniature, model, Shot()), plain)


def test_chained_concepts_share_one_wrapper_and_one_encode(miniature, sae, cats):
    from comfy.patcher_extension import WrappersMP

    model = miniature[0]
    towers = load_feature_set("miniature/towers.json")
    both = unlearn(unlearn(model, sae, cats), sae, towers)
    turned = unlearn(unlearn(model, sae, towers), sae, cats)
    assert len(both.get_wrappers(WrappersMP.APPLY_MODEL, "saeuron")) == 1
    encodes = []
    handle = sae.module.encoder.register_forward_hook(lambda *_: encodes.append(1))
    with Spy(model) as spy:
        result = sample(miniature, both, Shot())
    handle.remove()
    assert len(encodes) == len(spy.outputs)
    assert torch.equal(result, sample(miniature, turned, Shot()))
    assert not torch.equal(result, sample(miniature, unlearn(model, sae, cats), Shot(), text="a tower"))


def test_two_loaded_copies_of_one_sae_encode_once(miniature, sae, cats):
    again = load_sae()
    towers = load_feature_set("miniature/towers.json")
    model, encodes = miniature[0], []
    handles = [s.module.encoder.register_forward_hook(lambda *_: encodes.append(1)) for s in (sae, again)]
    with Spy(model) as spy:
        two = sample(miniature, unlearn(unlearn(model, sae, cats), again, towers), Shot())
    for handle in handles:
        handle.remove()
    assert again.module is not sae.module and len(encodes) == len(spy.outputs)
    assert torch.equal(two, sample(miniature, unlearn(unlearn(model, sae, cats), sae, towers), Shot()))


@pytest.mark.parametrize("mode", ["seed", "saeuron-code"])
def test_published_modes_edit_every_call_by_their_formula(miniature, sae, cats, mode):
    library = pack("saeuron.edits.intervention")
    model = miniature[0]
    intervention = library.Intervention(cats, -1.0, mode)
    with Spy(model) as spy:
        sample(miniature, unlearn(model, sae, cats, -1.0, mode=mode), Shot())
    assert spy.outputs
    for block_input, output, edited in zip(spy.inputs, spy.outputs, spy.edited, strict=True):
        expected = library.intervene(sae.module, "update", [intervention], 1.0, tokens(block_input), tokens(output))
        assert torch.equal(tokens(edited), expected)
        assert not torch.equal(edited, output)


def test_lora_keys_are_the_same_on_a_patched_model(miniature, sae, cats):
    import comfy.lora

    model = miniature[0]
    patched = unlearn(model, sae, cats)
    assert set(patched.model_state_dict()) == set(model.model_state_dict())
    assert comfy.lora.model_lora_keys_unet(patched.model, {}) == comfy.lora.model_lora_keys_unet(model.model, {})


def test_turbo_scheduler_and_custom_sampler(miniature, sae, cats):
    from comfy_extras.nodes_custom_sampler import SDTurboScheduler

    model = miniature[0]
    sigmas = SDTurboScheduler.execute(model, 4, 1.0).result[0]
    plain = sample(miniature, model, Shot(), sigmas=sigmas)
    edited = sample(miniature, unlearn(model, sae, cats), Shot(), sigmas=sigmas)
    assert torch.isfinite(edited).all() and not torch.equal(plain, edited)
    assert torch.equal(sample(miniature, model, Shot(), sigmas=sigmas), plain)


def test_packs_that_replace_the_unets_forward_do_not_matter(miniature, sae, cats, monkeypatch):
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    model = miniature[0]
    edited = sample(miniature, unlearn(model, sae, cats), Shot())
    monkeypatch.setattr(UNetModel, "forward", UNetModel._forward)
    assert torch.equal(sample(miniature, unlearn(model, sae, cats), Shot()), edited)


def test_packs_that_replace_the_blocks_forward_stay(miniature, sae, cats, monkeypatch):
    model = miniature[0]
    plain = sample(miniature, model, Shot())
    block = model.get_model_object("diffusion_model").get_submodule("output_blocks.1.1")
    inner = block.forward

    def halved(*args):
        return inner(*args) / 2

    monkeypatch.setattr(block, "forward", halved)
    other = sample(miniature, model, Shot())
    edited = sample(miniature, unlearn(model, sae, cats), Shot())
    assert block.forward is halved
    assert torch.equal(sample(miniature, model, Shot()), other)
    assert not torch.equal(other, plain) and not torch.equal(edited, other)


def test_a_run_that_leaves_the_wrappers_out_is_told(miniature, sae, cats, monkeypatch, caplog):
    from comfy.model_base import BaseModel

    patched = unlearn(miniature[0], sae, cats)
    sample(miniature, patched, Shot())
    assert "no effect" not in caplog.text
    monkeypatch.setattr(BaseModel, "apply_model", BaseModel._apply_model)  # as packs do that replace it
    sample(miniature, patched, Shot())
    assert "Unlearn had no effect" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_is_gone_from_the_options_when_it_has_ended(miniature, sae, cats, fails):
    """They are the guider's, who may live longer."""
    from comfy.patcher_extension import WrappersMP

    key, patched, seen = pack("nodes.host.call").RUN, unlearn(miniature[0], sae, cats), []

    def look(executor, *args, **kwargs):
        options = executor.class_obj.model_options["transformer_options"]
        seen.append((options, key in options))
        if fails:
            raise RuntimeError("planted")
        return executor(*args, **kwargs)

    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "another pack", look)
    with pytest.raises(RuntimeError, match="planted") if fails else nullcontext():
        sample(miniature, patched, Shot())
    ((options, while_it_ran),) = seen
    assert while_it_ran and key not in options
