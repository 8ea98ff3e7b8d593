"""torch.compile around and under the edits: the same pictures, one graph, nothing compiled anew for a multiplier.

More of it, and the compiler that people use, is in tests/slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from support.compiling import *  # noqa: F403 - its fixtures
from support.host_graph import Shot, compiled, hooked_blocks, sample, unlearn
from support.replacing import CAT, TOWER, Draw, draw, encode
from tools.pack import pack

SHOT = Shot()


def test_another_multiplier_or_feature_set_compiles_nothing(miniature, compiler, edits):
    model, names = miniature[0], ("plain", "concept", "multiplier", "feature set")
    expected = {name: sample(miniature, edits[name](model), SHOT) for name in names}
    base = compiled(model)
    for name in (*names, *reversed(names)):
        assert torch.equal(sample(miniature, edits[name](base), SHOT), expected[name]), name
    assert not compiler["graph_break"]
    assert not hooked_blocks(model)
    assert compiler["stats"]["unique_graphs"] <= 2  # plain, and edited


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

    monkeypatch.setattr(pack("nodes.host.model"), "apply_edits", fail)
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
