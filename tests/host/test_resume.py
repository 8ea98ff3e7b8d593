"""Collecting statistics goes on where an interrupt stopped it, with the same result bit for bit, or begins anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from support.codes import TENSORS
from support.host_graph import at_every_step, load_sae
from tools.pack import pack

PROMPTS = "\n".join(f"a cat number {number}" for number in range(7))


class Host:
    """The host's progress hook, as its main.py sets it: an interrupt is thrown where the bar moves."""

    def __init__(self) -> None:
        self.interrupt_at: int | None = None
        self.seen: list[int] = []

    def __call__(self, value, total, _preview, **_) -> None:
        import comfy.model_management

        if total < 14:  # the bar of the prompts that are encoded
            return
        self.seen.append(value)
        if value == self.interrupt_at:
            comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()


@pytest.fixture
def host(miniature, monkeypatch) -> Iterator[Host]:
    import comfy.utils

    hook = Host()
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    at_every_step(monkeypatch)
    monkeypatch.setattr(pack("nodes.host.drawing"), "MAX_BATCH", 2)
    yield hook


def collect(miniature, sae, prompts=PROMPTS, **changes):
    model, clip, _ = miniature
    settings = {"sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 2, "cfg": 1.0, "width": 64,
                "height": 64, "seed": 3}  # fmt: skip
    return pack("nodes.statistics").SaeuronCollectStatistics.execute(
        model, clip, sae, prompts, **{**settings, **changes}
    ).result[0]  # fmt: skip


def interrupted(host, miniature, sae, at=7, **changes):
    """Seven prompts in batches of two and two steps each: the bar goes 2, 4 | 6, 8 | 10, 12 | 13, 14."""
    import comfy.model_management

    host.interrupt_at = at
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        collect(miniature, sae, **changes)
    host.interrupt_at = None
    host.seen.clear()


def assert_same(a, b):
    for name in TENSORS:
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert (a.sae, a.sigmas, a.sampling, a.concept) == (b.sae, b.sigmas, b.sampling, b.concept)


@pytest.mark.parametrize(("at", "goes_on_at"), [(6, 6), (8, 6), (10, 10), (13, 13)])
def test_goes_on_after_the_last_whole_batch(host, miniature, sae, at, goes_on_at):
    whole = collect(miniature, sae)
    assert host.seen == [2, 4, 6, 8, 10, 12, 13, 14]
    interrupted(host, miniature, sae, at)
    again = collect(miniature, sae)
    assert host.seen[0] == goes_on_at and host.seen[-1] == 14
    assert_same(again, whole)


def test_interrupted_twice(host, miniature, sae):
    whole = collect(miniature, sae)
    interrupted(host, miniature, sae, 6)
    interrupted(host, miniature, sae, 12)
    again = collect(miniature, sae)
    assert host.seen == [10, 12, 13, 14]
    assert_same(again, whole)


def test_an_ended_run_is_not_gone_on_with(host, miniature, sae):
    interrupted(host, miniature, sae, 6)
    collect(miniature, sae)
    host.seen.clear()
    collect(miniature, sae)
    assert host.seen[0] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4}, {"steps": 3}, {"cfg": 1.5}, {"scheduler": "karras"}, {"prompts": PROMPTS + "\na dog"},
        {"sigmas": torch.tensor([14.6, 3.0, 0.0])},
    ],
)  # fmt: skip
def test_other_settings_begin_anew(host, miniature, sae, change):
    whole = collect(miniature, sae, **change)
    interrupted(host, miniature, sae, 8)
    assert_same(collect(miniature, sae, **change), whole)
    assert host.seen[0] <= 3


def test_another_model_begins_anew(host, miniature, sae, cats):
    from support.host_graph import unlearn

    model, *others = miniature
    patched = unlearn(model, sae, cats)
    whole = collect((patched, *others), sae)
    interrupted(host, miniature, sae, 8)
    assert_same(collect((patched, *others), sae), whole)
    assert host.seen[0] == 2


def test_weights_that_changed_begin_anew(host, miniature, sae):
    model, *others = miniature
    model = model.clone()
    interrupted(host, (model, *others), sae, 8)
    name = "diffusion_model.output_blocks.1.1.proj_out.bias"
    model.add_patches({name: (torch.ones(192),)}, 0.1)
    collect((model, *others), sae)
    assert host.seen[0] == 2


def test_another_sae_begins_anew(host, miniature, sae):
    other = load_sae("mid_block.attentions.0")
    interrupted(host, miniature, sae, 8)
    assert collect(miniature, other).sae == other.identity
    assert host.seen[0] == 2


def test_nothing_is_kept_of_a_model_that_is_gone(host, miniature, sae):
    import gc

    kept = pack("nodes.host.resuming")._KEPT
    model, *others = miniature
    clone = model.clone()
    before = len(kept)
    interrupted(host, (clone, *others), sae, 8)
    assert len(kept) == before + 1
    del clone
    gc.collect()
    assert len(kept) == before
