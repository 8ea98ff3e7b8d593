"""The technique ``saeuron_edit`` of eval-unlearn: all edits of ours on all models of the reference path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .pipeline import SAeUronPipeline

if TYPE_CHECKING:
    from PIL.Image import Image


class EditTechnique:
    """`erase_concept` is the concept; the other keyword arguments are those of `SAeUronPipeline` and of its `generate`.

    What is not given has their defaults but for steps and guidance, which are SD 1.x's.
    """

    def __init__(
        self,
        erase_concept: str,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        **options: Any,
    ) -> None:
        self._sampling = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        self._pipeline = SAeUronPipeline(erase_concept, **options)

    def generate(self, prompts: list[str], seed: int | None = None, **options: Any) -> list[Image]:
        return self._pipeline.generate(prompts, seed, **{**self._sampling, **options})
