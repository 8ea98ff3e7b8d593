"""Concepts of a Stable Diffusion UNet in sparse autoencoders: found, removed while sampling, and turned back. It needs
torch and no ComfyUI; what draws without ComfyUI is in `saeuron.reference`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .eval_unlearn.pipeline import SAeUronPipeline

__all__ = ["SAeUronPipeline"]


def __getattr__(name: str) -> Any:
    """`SAeUronPipeline`, imported when it is first asked for: the host imports this package at its start."""
    if name == "SAeUronPipeline":
        from .eval_unlearn.pipeline import SAeUronPipeline

        return SAeUronPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
