"""Options of the host that change how it caches and loads: the pictures stay the same."""

from __future__ import annotations

import random

import pytest
import torch

from tools.bench.soak.traces import chained, draw, drawing, off
from tools.host.server import ComfyServer

ON_A_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: the host takes --cpu or one of these options, not both"
)


def pictures(server: ComfyServer) -> list[str]:
    """Plain, with edits at several hookpoints, plain again."""
    edited = [drawing(edit, random.Random(1), seed=1) for edit in (off, chained, off)]
    return [draw(server, graph) for graph in edited]


@pytest.mark.parametrize("options", [["--cache-none"], ["--cache-lru", "5"]], ids=" ".join)
def test_caching(server: ComfyServer, options: list[str]) -> None:
    with ComfyServer(extra_args=options) as other:
        found = pictures(other)
    assert found == pictures(server)
    assert found[0] == found[2] != found[1]


@ON_A_GPU
@pytest.mark.parametrize("option", ["--lowvram", "--novram"])
def test_offloading(option: str) -> None:
    with ComfyServer(cpu=False) as plain, ComfyServer(cpu=False, extra_args=[option]) as other:
        assert pictures(other) == pictures(plain)
