"""The method on diffusers under NNsight, as it was published: the independent check on what the host's patch does."""

from typing import Any

from ..optional import require


def require_diffusers() -> Any:
    """diffusers. NNsight is asked for too: better before gigabytes of weights are read than after."""
    require_nnsight()
    return require("diffusers", "diffusers", "The reference path")


def require_nnsight() -> Any:
    return require("nnsight", "nnsight", "The reference path")
