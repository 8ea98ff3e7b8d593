"""torch.compile with every kind of edit in turn, other sizes, and the compiler that people use."""

from __future__ import annotations

import shutil

import pytest
import torch

from support.compiling import *  # noqa: F403 - its fixtures
from support.host_graph import Shot, compiled, hooked_blocks, sample, unlearn

SHOT = Shot()
ROUNDING = 1e-3  # latents are of size 1 to 10; the compiled code adds in another order


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
    for shot in (SHOT, SHOT._replace(cfg=2.0, batch=2, width=96, height=160), SHOT._replace(batch=2), SHOT):
        for name in ("plain", "concept"):
            expected = sample(miniature, edits[name](model), shot)
            assert torch.equal(sample(miniature, edits[name](base), shot), expected), (name, shot)
    assert not compiler["graph_break"]


def test_what_changes_nothing_is_bit_identical(miniature, compiler, sae, cats):
    """Before and after the host's compile node."""
    model, shot = miniature[0], SHOT._replace(cfg=2.0)
    alone = sample(miniature, compiled(model), shot)
    nothing = {"multiplier": 1.0, "rule": "gamma"}
    assert torch.equal(sample(miniature, unlearn(compiled(model), sae, cats, **nothing), shot), alone)
    assert torch.equal(sample(miniature, compiled(unlearn(model, sae, cats, **nothing)), shot), alone)
    assert torch.equal(sample(miniature, model, shot), alone)


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
