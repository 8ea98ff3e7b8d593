"""What all tiers share: one thread for torch, and one ComfyUI for every test that needs a live one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tools.host.server import ComfyServer

# Before torch is imported. The miniature's operations are so small that further threads only wait for one another:
# they add CPU time and no speed. ComfyUI processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# How long an example takes depends on the machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def server() -> Iterator[ComfyServer]:
    """ComfyUI with the pack: one process for the tests with a live server, with a browser, and the slow ones."""
    from tools.host.server import ComfyServer

    with ComfyServer() as running:
        yield running
