"""The cross-attention layers of the host's UNet, and how hooks act on what they give."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .hook import run_hooks
from .unet import hookpoints_in, uncompiled

QUERY = "saeuron_query"  # where a block keeps what its cross-attention layer was given


def layers_of(unet: nn.Module) -> dict[str, Any]:
    """The cross-attention layers of the host's UNet by `layer_name`."""
    layers = {}
    for path in hookpoints_in(unet).values():
        side, *numbers = path.split(".")  # input_blocks.4.1, middle_block.1
        block = (side.partition("_")[0], int(numbers[0]) if len(numbers) > 1 else 0)
        for index, transformer in enumerate(uncompiled(unet.get_submodule(path)).transformer_blocks):
            layers[layer_name(block, index)] = uncompiled(uncompiled(transformer).attn2)
    return layers


def layer_name(block: tuple[str, int], index: int) -> str:
    """Of the cross-attention in the transformer of this number in a block, in the host's words: ``("input", 4)``."""
    return f"attn2 {block[0]} {block[1]} {index}"


def with_layer_patches(options: dict[str, Any]) -> dict[str, Any]:
    """The host's ``transformer_options`` with patches that let hooks act on what cross-attention layers give.

    Patches and not hooks on the modules: other packs replace what a layer does (IPAdapter), and split and join its rows
    (attention couple). Ours see the layer's input before all of theirs and its output after all of theirs.
    """
    patches = dict(options.get("patches") or {})
    patches["attn2_patch"] = [_keep_query, *patches.get("attn2_patch", ())]
    patches["attn2_output_patch"] = [*patches.get("attn2_output_patch", ()), _act_on_output]
    return {**options, "patches": patches}


def _keep_query(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    extra[QUERY] = n
    return n, context, value


def _act_on_output(output: Tensor, extra: dict[str, Any]) -> Tensor:
    x, (height, width) = extra.pop(QUERY), extra["activations_shape"][-2:]
    if x.shape[1] == height * width:
        x = x.unflatten(1, (height, width))
    return run_hooks(x, output, layer_name(extra["block"], extra["block_index"]))
