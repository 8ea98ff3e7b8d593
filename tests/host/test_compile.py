"""torch.compile around and under the edits: the same pictures, one graph, nothing compiled anew for a multiplier."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from support.host_graph import Shot, compiled, hooked_blocks, load_feature_set, load_sae, sample, unlearn
from support.replacing import CAT, TOWER, Draw, draw, encode
from tools.pack import pack

SHOT = Shot(steps=2)
OTHER = "up_blocks.1.attentions.0"
ROUNDING = 1e-3  # latents are of size 1 to 10; the compiled code adds in another order


@pytest.fixture
def compiler(monkeypatch) -> Iterator[Any]:
    """What torch.compile counts, from nothing, with the attention that the host uses on a GPU.

    The one it uses on the CPU asks for the free memory, which breaks every graph.
    """
    import comfy.ldm.modules.attention as attention
    from torch._dynamo.utils import counters

    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    torch._dynamo.reset()
    counters.clear()
    yield counters
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def edits(sae, cats) -> dict[str, Callable[[Any], Any]]:
    """Name -> MODEL -> edited MODEL; each differs from the one before in one thing."""
    other_sae, other_cats = load_sae(OTHER), load_feature_set(f"miniature/{OTHER}/cats.json")
    towers = load_feature_set("miniature/towers.json")

    def elsewhere(model: Any) -> Any:
        return unlearn(model, other_sae, other_cats)

    return {
        "plain": lambda model: model.clone(),
        "concept": lambda model: unlearn(model, sae, cats),
        "multiplier": lambda model: unlearn(model, sae, cats, -5.0),
        "feature set": lambda model: unlearn(model, sae, towers),
        "mode": lambda model: unlearn(model, sae, towers, -2.0, mode="saeuron-code"),
        "hookpoint": elsewhere,
        "both hookpoints": lambda model: elsewhere(unlearn(model, sae, cats)),
        "other order": lambda model: unlearn(elsewhere(model), sae, cats),
        "two modes": lambda model: unlearn(unlearn(model, sae, cats), sae, towers, -2.0, mode="saeuron-code"),
    }


@pytest.mark.parametrize("first", ["compile", "edit"])
def test_each_edit_in_turn_on_one_compiled_unet(miniature, compiler, edits, first):
    model = miniature[0]
    expected = {name: sample(miniature, edit(model), SHOT) for name, edit in edits.items()}
    base = compiled(model)
    for name in (*edits, *reversed(edits)):
        patched = edits[name](base) if first == "compile" else compiled(edits[name](model))
        assert torch.equal(sample(miniature, patched, SHOT), expected[name]), name
    assert not compiler["graph_break"]
    assert not hooked_blocks(model)
    # plain; one hookpoint; the other; both, in either order; two modes at one
    assert compiler["stats"]["unique_graphs"] <= 6


def test_batches_sizes_and_guidance_in_turn(miniature, compiler, edits):
    model = miniature[0]
    base = compiled(model)
    for shot in (SHOT, SHOT._replace(cfg=2.0, batch=2, width=160, height=224), SHOT._replace(batch=2), SHOT):
        for name in ("plain", "concept"):
            expected = sample(miniature, edits[name](model), shot)
            assert torch.equal(sample(miniature, edits[name](base), shot), expected), (name, shot)
    assert not compiler["graph_break"]


def test_a_block_that_is_compiled_in_place(miniature, compiler, edits, monkeypatch):
    model = miniature[0]
    plain, expected = (sample(miniature, edits[name](model), SHOT) for name in ("plain", "concept"))
    block = model.get_model_object("diffusion_model").get_submodule("output_blocks.1.1")
    monkeypatch.setattr(block, "_compiled_call_impl", torch.compile(block._call_impl, backend="eager"))
    for name, picture in (("plain", plain), ("concept", expected), ("plain", plain)):
        assert torch.equal(sample(miniature, edits[name](model), SHOT), picture), name
    assert compiler["stats"]["unique_graphs"]


def test_errors_of_an_edit_come_through(miniature, compiler, sae, cats, monkeypatch):
    patched = compiled(unlearn(miniature[0], sae, cats))
    errors = pack("saeuron.errors")

    def fail(*_: object) -> None:
        raise errors.SaeuronError("planted")

    monkeypatch.setattr(pack("nodes.host.model"), "intervene", fail)
    with pytest.raises(errors.SaeuronError, match="planted"):
        sample(miniature, patched, SHOT)
    assert not hooked_blocks(miniature[0])


def test_replacing_is_one_graph_for_all_that_it_does(miniature, compiler, cat_to_dog):
    """Gates open and closed, the first call that is stopped and run again, other strengths, masks and concepts."""
    model, prompts, how = miniature[0], encode(miniature, CAT, TOWER), Draw(batch=2, steps=2)

    def variants(base: Any) -> Iterator[tuple[Any, Any]]:
        yield cat_to_dog(base), prompts
        yield cat_to_dog(base), encode(miniature, TOWER, "a flower")
        yield cat_to_dog(base, strength=40.0, growth=1, mask=torch.ones(1, 8, 8)), prompts
        yield cat_to_dog(base, concept="a kitten", instead="a statue"), prompts
        yield cat_to_dog(base, start_percent=0.5), prompts

    expected = [draw(miniature, replacing, texts, how) for replacing, texts in variants(model)]
    base, graphs = compiled(model), []
    for (replacing, texts), picture in zip(variants(base), expected, strict=True):
        assert torch.equal(draw(miniature, replacing, texts, how), picture)
        graphs.append(compiler["stats"]["unique_graphs"])
    assert graphs == [1] * 5 and not compiler["graph_break"]
    assert torch.equal(draw(miniature, compiled(cat_to_dog(model)), prompts, how), expected[0])
    assert torch.equal(draw(miniature, base, prompts, how), draw(miniature, model, prompts, how))
    assert not hooked_blocks(model)


@pytest.mark.skipif(not shutil.which("gcc"), reason="inductor needs a C++ compiler; there is no gcc")
def test_inductor(miniature, compiler, edits):
    """The compiler that people use."""
    model, shot = miniature[0], Shot(steps=1)
    plain, expected = (sample(miniature, edits[name](model), shot) for name in ("plain", "concept"))
    assert (expected - plain).abs().max() > 100 * ROUNDING
    base = compiled(model, "inductor")
    for patched, picture in (
        (base, plain),
        (edits["concept"](base), expected),
        (compiled(edits["concept"](model), "inductor"), expected),
        (base, plain),
    ):
        assert torch.allclose(sample(miniature, patched, shot), picture, rtol=0, atol=ROUNDING)
    assert torch.equal(sample(miniature, model, shot), plain)
    assert not compiler["graph_break"]
