"""One call of a UNet under NNsight: what some of its modules read and give, and the edit of it.

Three traps of NNsight, all avoided here: inside a trace a module's ``.input`` has to be asked for before its
``.output``, and one module's before the next one's, because values come in the order in which the model computes them;
a wrapped module stays wrapped, so it is given modules of its own; and importing it puts a ``save`` on every object.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from . import require_nnsight

# a module's input and output, both channels last -> new output, or None (or the output itself) to leave it alone
Reader = Callable[[Tensor, Tensor], Tensor | None]


class Stop(Exception):
    """A reader raises it to end a call of the UNet whose rest is not needed."""


_STAGES = ("down", "mid", "up")  # in the order in which a UNet runs


class TracedUNet:
    """A `UNet2DConditionModel` under NNsight. `unet` stays as it is: NNsight wraps other modules with its weights."""

    def __init__(self, unet: Any) -> None:
        self._unet = require_nnsight().NNsight(_with_shared_weights(unet).eval())

    def __call__(self, readers: Mapping[str, Reader], *args: Any, **kwargs: Any) -> Tensor:
        """What the UNet predicts [B, 4, h, w] for its own arguments, with `readers` at the modules of these paths.

        The paths lead to modules within the UNet's blocks; one may lie within another.
        Errors: what a reader raises, such as `Stop`; it ends the call at once, as NNsight's ``tracer.stop()`` does.
        """
        moments, inputs, save = list(_moments(readers)), dict[str, Tensor](), require_nnsight().save
        with torch.inference_mode(), self._unet.trace(*args, **kwargs, return_dict=False):
            for path, ends in moments:
                if ends:
                    _read(readers[path], inputs.pop(path), self._module(path))
                else:
                    inputs[path] = self._module(path).input
            prediction: Tensor = save(self._unet.output[0])
        return prediction

    def _module(self, path: str) -> Any:
        module: Any = self._unet
        for part in path.split("."):
            module = module[int(part)] if part.isdigit() else getattr(module, part)
        return module


def _moments(paths: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """In the order in which a UNet runs: each path where its module begins (False) and where it ends (True)."""
    running: list[str] = []
    for path in sorted(paths, key=_place):
        while running and not path.startswith(f"{running[-1]}."):
            yield running.pop(), True
        yield path, False
        running.append(path)
    while running:
        yield running.pop(), True


def _place(path: str) -> tuple[int, ...]:
    return _STAGES.index(path.partition("_")[0]), *map(int, re.findall(r"\d+", path))


def _with_shared_weights(module: Any) -> Any:
    """A copy of `module` whose parameters and buffers are those of `module` themselves."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})


def _read(reader: Reader, module_input: Tensor, module: Any) -> None:
    """Let `reader` act at `module`, NNsight's stand-in for one that gives a tensor or a tuple of a single one."""
    output = module.output
    in_tuple = isinstance(output, tuple)
    before = _channels_last(output[0] if in_tuple else output)
    after = reader(_channels_last(module_input), before)
    if after is None or after is before:
        return
    if after.ndim == 4:
        after = after.permute(0, 3, 1, 2).contiguous()  # BHWC -> BCHW
    module.output = (after,) if in_tuple else after


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x  # BCHW -> BHWC; tokens [B, t, d] are so already
