"""These tests run against the host's own modules, in this process, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.host_graph import load_feature_set, load_sae, replace
from support.host_process import *  # noqa: F403 - its fixtures
from support.replacing import CAT, HOOKPOINT, TOWER, Replacer, encode


@pytest.fixture(scope="session")
def cat_to_dog(miniature: tuple) -> Replacer:
    """Puts Replace Concept on a MODEL, by default where it works best on the miniature."""

    def on(
        model: Any, hookpoint: str = HOOKPOINT, concept: str = "a cat", instead: str = "a dog", **options: Any
    ) -> Any:
        file = f"miniature/{hookpoint}/cats.json" if hookpoint == HOOKPOINT else "miniature/cats.json"
        loaded = load_sae(hookpoint), load_feature_set(file)
        return replace(model, miniature[1], *loaded, concept, instead, **options)

    return on


@pytest.fixture(scope="session")
def cat_and_tower(miniature: tuple) -> list[Any]:
    """CONDITIONING of two pictures, the first of which is to be changed."""
    return encode(miniature, CAT, TOWER)


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host takes its device for one with no memory to spare, and loads nothing onto it for good; until
    `monkeypatch` is undone."""
    import comfy.model_management as host

    host.unload_all_models()
    monkeypatch.setattr(host, "is_device_cpu", lambda _device: False)
    monkeypatch.setattr(host, "vram_state", host.VRAMState.NO_VRAM)
    yield
    monkeypatch.undo()
    host.unload_all_models()
