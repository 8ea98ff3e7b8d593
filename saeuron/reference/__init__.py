"""The method on diffusers under NNsight, as it was published: the independent check on what the host's patch does."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import SaeuronError

PACKAGES = ("diffusers", "nnsight", "tqdm", "transformers")
"""What the library alone does without. The extra ``reference`` of pyproject.toml has accelerate besides, with which
diffusers needs less memory to load a large model."""


def require_diffusers() -> Any:
    """diffusers. The others are asked for too: better before gigabytes of weights are read than after."""
    require_nnsight()
    return {package: _require(package) for package in PACKAGES}["diffusers"]


def require_nnsight() -> Any:
    """NNsight, without the ``save`` that importing it puts on every object: other libraries trip over it (torchsde
    sorts the attributes of its classes, and neither diffusers nor the host can import it any more)."""
    nnsight = _require("nnsight")
    from nnsight._c import unmount

    if hasattr(object, "save"):
        unmount("save")
    return nnsight


def _require(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SaeuronError(
            f"The reference path needs the Python package {package}, which is not installed for the Python that runs "
            f"this. Install it there with the others that the reference path needs: pip install {' '.join(PACKAGES)} "
            f"({error})"
        ) from error
