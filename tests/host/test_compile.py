"""torch.compile around and under the edits: the same pictures, one graph, nothing compiled anew for a multiplier.

More of it, and the compiler that people use, is in tests/slow.
"""

from __future__ import annotations

import pytest
import torch

from support.compiling import *  # noqa: F403 - its fixtures
from support.host_graph import Shot, compiled, hooked_blocks, sample, unlearn
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
