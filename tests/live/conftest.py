"""These tests start real ComfyUI processes. Starting one takes seconds, so tests share them where they can."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.host.server import ComfyServer


@pytest.fixture(scope="session")
def server() -> Iterator[ComfyServer]:
    """ComfyUI with the pack."""
    with ComfyServer() as running:
        yield running


@pytest.fixture(scope="session")
def bare_server() -> Iterator[ComfyServer]:
    """ComfyUI without the pack."""
    with ComfyServer(with_pack=False) as running:
        yield running
