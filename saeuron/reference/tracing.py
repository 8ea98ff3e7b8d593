"""One step of a UNet under NNsight: what a hookpoint reads and gives, and the edit of it.

Three traps of NNsight, all avoided here: inside a trace a block's ``.input`` has to be asked for before its
``.output``, because values come in the order in which the model computes them; a wrapped module stays wrapped, so it is
given modules of its own; and importing it puts a ``save`` on every object.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import require_nnsight

# block input, block output (both BHWC) -> new output, or None to leave it alone
Reader = Callable[[Tensor, Tensor], Tensor | None]


class TracedUNet:
    """A `UNet2DConditionModel` under NNsight. `unet` stays as it is: NNsight wraps other modules with its weights."""

    def __init__(self, unet: Any) -> None:
        self._unet = require_nnsight().NNsight(_with_shared_weights(unet).eval())

    def __call__(self, hookpoint: str, reader: Reader, *args: Any, **kwargs: Any) -> Tensor:
        """What the UNet predicts [B, 4, h, w] for its own arguments, with `reader` at the block `hookpoint`."""
        block, save = self._block(hookpoint), require_nnsight().save
        with torch.inference_mode(), self._unet.trace(*args, **kwargs, return_dict=False):
            block_input = block.input
            block_output = block.output[0]
            edited = _read(reader, block_input, block_output)
            if edited is not None:
                block.output = (edited,)
            prediction: Tensor = save(self._unet.output[0])
        return prediction

    def _block(self, hookpoint: str) -> Any:
        module: Any = self._unet
        for part in hookpoint.split("."):
            module = module[int(part)] if part.isdigit() else getattr(module, part)
        return module


def _with_shared_weights(module: Any) -> Any:
    """A copy of `module` whose parameters and buffers are those of `module` themselves."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})


def _read(reader: Reader, block_input: Tensor, block_output: Tensor) -> Tensor | None:
    tokens_out = block_output.permute(0, 2, 3, 1)  # BCHW -> BHWC
    edited = reader(block_input.permute(0, 2, 3, 1), tokens_out)
    if edited is None or edited is tokens_out:
        return None
    return edited.permute(0, 3, 1, 2).contiguous()  # BHWC -> BCHW
