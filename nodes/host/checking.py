"""Values that no browser would send: the host checks types and ranges of numbers, and lets the rest through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ...saeuron.errors import SaeuronError

# Looked up by the nodes themselves, because files come and go while the server is up.
FILE_NAMES = {"sae_name", "feature_set_name", "classifier_name"}


def checked(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """`node`, which refuses malformed inputs with a message that names them before it does anything."""
    execute: Any = node.execute

    def execute_checked(cls: Any, **inputs: Any) -> io.NodeOutput:
        declared = {input_.id: input_ for input_ in cls.define_schema().inputs}
        if problems := list(_problems(declared, inputs)):
            raise SaeuronError(" ".join(problems))
        # The class that executes is a clone of the node, which knows the node's id in the graph.
        return execute.__func__(cls, **inputs)

    node.execute = classmethod(execute_checked)
    return node


def _problems(declared: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    for name, value in inputs.items():
        input_ = declared[name]
        if isinstance(input_, io.Combo.Input):
            if not isinstance(value, str) or (name not in FILE_NAMES and value not in input_.options):
                yield f"{name} is {brief(value)}; choose one of: {_some(input_.options)}."
        elif isinstance(input_, io.Float.Input):
            if not math.isfinite(value):
                yield f"{name} is {value}; it must be a finite number."
        elif not isinstance(input_, io.WidgetInput) and not _from_a_node(input_, value):
            yield f"{name} is {brief(value)}; it needs a connection to a node that gives a {input_.get_io_type()}."


def _from_a_node(input_: Any, value: Any) -> bool:
    """Whether a node can have given `value`: two of the host's own types are made of what can be posted, too."""
    if isinstance(input_, io.Conditioning.Input):
        entries = value if isinstance(value, list) else []
        return bool(entries) and all(
            isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], Tensor) for entry in entries
        )
    if isinstance(input_, io.Latent.Input):
        return isinstance(value, dict) and isinstance(value.get("samples"), Tensor)
    return not isinstance(value, bool | int | float | str | list | dict)


def _some(options: list[str]) -> str:
    return ", ".join(options[:12]) + (", ..." if len(options) > 12 else "")
