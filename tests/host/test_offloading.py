"""Weights that the host leaves offloaded, as with ``--novram``; without a GPU both sides are the CPU's memory."""

from __future__ import annotations

import torch

from support.host_graph import Shot, load_sae, sample, unlearn
from tools.pack import pack

SHOT = Shot(cfg=2.0)


def test_the_picture_is_the_same_where_nothing_stays_loaded(miniature, sae, cats, no_room, monkeypatch):
    loaded = tuple(pack("nodes.load").SaeuronLoadMiniature.execute().result)
    own_sae = load_sae()
    patched = unlearn(loaded[0], own_sae, cats)
    edited = sample(loaded, patched, SHOT)
    plain = sample(loaded, loaded[0], SHOT)
    assert own_sae.patcher.model.model_lowvram and loaded[0].model.model_lowvram
    assert own_sae.patcher.loaded_size() == 0
    monkeypatch.undo()
    assert torch.equal(sample(miniature, unlearn(miniature[0], sae, cats), SHOT), edited)
    assert torch.equal(sample(miniature, miniature[0], SHOT), plain)
