"""torch.compile around and under edits, for the quick tests and for those that take minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from support.host_graph import load_feature_set, load_sae, unlearn

__all__ = ["compiler", "edits"]

OTHER = "up_blocks.1.attentions.0"


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
