"""The method on diffusers under NNsight, as it was published: the independent check on what the host's patch does."""

from typing import Any

from ..optional import require


def require_diffusers() -> Any:
    """diffusers. NNsight is asked for too: better before gigabytes of weights are read than after."""
    require_nnsight()
    return require("diffusers", "diffusers", "The reference path")


def require_nnsight() -> Any:
    """NNsight, without the ``save`` that importing it puts on every object: other libraries trip over it (torchsde
    sorts the attributes of its classes, and neither diffusers nor the host can import it any more)."""
    nnsight = require("nnsight", "nnsight", "The reference path")
    from nnsight._c import unmount

    if hasattr(object, "save"):
        unmount("save")
    return nnsight
