"""Hooks live for one call, whatever happens: threads, exceptions, nesting, other packs on top."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from support.host_graph import hooked_blocks, steer, unlearn
from tools.pack import pack


class Doubles(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.fixture
def unet():
    return nn.ModuleDict({"block": Doubles(), "other": Doubles()})


def hooked(unet, *hooks):
    return pack("nodes.host.hook").hooked(unet, hooks)


def add(number):
    return lambda _, module_output: module_output + number


def result(unet) -> float:
    return float(unet["block"](torch.tensor(1.0)))


def test_hooks_act_in_order_within_their_call_only(unet):
    with hooked(unet, ("block", add(1)), ("block", lambda _, output: output * 10), ("other", add(5))):
        assert result(unet) == 30
        with hooked(unet, ("block", add(7))):
            assert result(unet) == 37
        assert result(unet) == 30
    assert result(unet) == 2 and not any("forward" in vars(module) for module in unet.values())


def test_an_exception_leaves_nothing_behind(unet):
    def fail(*_):
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"), hooked(unet, ("block", fail), ("other", add(1))):
        result(unet)
    with pytest.raises(AttributeError), hooked(unet, ("block", add(1)), ("nowhere", add(1))):
        pass
    assert result(unet) == 2 and not any("forward" in vars(module) for module in unet.values())


@pytest.mark.parametrize("first_out", [0, 1])
def test_threads_see_their_own_hooks_and_may_end_in_any_order(unet, first_out):
    inside, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    found: dict[int, float] = {}

    def run(number):
        if number:
            inside[0].wait(10)
        with hooked(unet, ("block", add(10 * (number + 1)))):
            inside[number].set()
            leave[number].wait(10)
            found[number] = result(unet)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    assert inside[1].wait(10)
    assert result(unet) == 2, "a call without hooks saw those of another thread"
    for number in (first_out, 1 - first_out):
        leave[number].set()
        threads[number].join(10)
    assert found == {0: 12, 1: 22}
    assert result(unet) == 2 and "forward" not in vars(unet["block"])


def test_what_another_pack_puts_on_top_stays_theirs(unet):
    block = unet["block"]
    with hooked(unet, ("block", add(1))):
        inner = block.forward
        block.forward = lambda x: inner(x) + 100
        assert result(unet) == 103
    assert result(unet) == 102, "their change must stay, ours must not"
    with hooked(unet, ("block", add(1))):
        assert result(unet) == 103, "once, though it leads through an older hook"
    block.forward = inner  # as they found it
    assert result(unet) == 2
    with hooked(unet, ("block", add(1))):
        assert result(unet) == 3
    assert result(unet) == 2 and "forward" not in vars(block)


def test_what_another_pack_put_there_before_is_put_back(unet):
    theirs = unet["block"].forward = lambda x: x + 0.5
    with hooked(unet, ("block", add(1))):
        assert result(unet) == 2.5
    assert unet["block"].forward is theirs


def test_two_threads_run_one_unet(miniature, sae, cats):
    """Calls of the model, each as a sampler makes it; the host's own samplers share more than the UNet."""
    import comfy.model_management

    models = {
        "plain": miniature[0],
        "unlearn": unlearn(miniature[0], sae, cats),
        "steer": steer(miniature[0], sae, "3: 40"),
    }
    comfy.model_management.load_models_gpu([miniature[0], sae.patcher])
    x, context = (
        torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((1, 4, 8, 8), (1, 77, 128))
    )
    y = miniature[0].model.encode_adm(pooled_output=context[:, 0], width=64, height=64)

    def run(name):
        options = {"wrappers": models[name].wrappers, "sigmas": torch.tensor([1.0])}
        with torch.inference_mode():
            return models[name].model.apply_model(
                x, torch.tensor([1.0]), c_crossattn=context, y=y, transformer_options=options
            )

    expected = {name: run(name) for name in models}
    assert len({float(result.sum()) for result in expected.values()}) == 3
    found: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    threads = [
        threading.Thread(target=lambda name=name: found[name].extend(run(name) for _ in range(10))) for name in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, results in found.items():
        assert len(results) == 10 and all(torch.equal(result, expected[name]) for result in results), name
    assert not hooked_blocks(miniature[0])


def test_gradients_pass_through_an_edit(sae, cats):
    library, call = pack("saeuron.edits.apply"), pack("saeuron.edits.call")
    with torch.inference_mode(False), torch.enable_grad():
        own = pack("saeuron.sae.files").load_sae(pack("nodes.host.folders").find_sae(SAE_FILE)).sae
        block_input = torch.randn(1, 3, 3, own.d)
        block_output = (
            block_input + own.decoder_rows(torch.tensor(cats.steps[0].features[0].index)) * 100
        ).requires_grad_()
        intervention = pack("saeuron.edits.intervention").Intervention(cats, -20.0)
        edited = library.apply_edits(
            own, "update", [intervention], call.Call(1.0, 0, (call.Row(),)), block_input, block_output
        )
        assert not torch.equal(edited, block_output)
        (gradient,) = torch.autograd.grad(edited.sum(), block_output)
    assert torch.isfinite(gradient).all() and not torch.equal(gradient, torch.ones_like(gradient))


SAE_FILE = "miniature-up_blocks.0.attentions.1.safetensors"
