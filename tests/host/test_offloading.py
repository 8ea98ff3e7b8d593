"""Weights that the host leaves offloaded, as with ``--novram``; without a GPU both sides are the CPU's memory."""

from __future__ import annotations

import pytest
import torch

from support.host_graph import Shot, load_sae, sample, unlearn
from tools.pack import pack

SHOT = Shot(cfg=2.0)


@pytest.fixture
def no_room(monkeypatch):
    """The host takes its device for one with no memory to spare, and loads nothing onto it for good."""
    import comfy.model_management as host

    host.unload_all_models()
    monkeypatch.setattr(host, "is_device_cpu", lambda _device: False)
    monkeypatch.setattr(host, "vram_state", host.VRAMState.NO_VRAM)
    yield
    monkeypatch.undo()
    host.unload_all_models()


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
