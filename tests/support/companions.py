"""What else people put on a MODEL and on a CONDITIONING: the host's own patches, LoRAs, ControlNets, areas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .host_graph import compiled


def lora_weights(model: Any) -> dict[str, Tensor]:
    """A LoRA file of rank 2 on every cross-attention projection of the UNet."""
    import comfy.lora

    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    weights = model.model.state_dict()
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, key in keys.items():
        if isinstance(key, str) and name.startswith("lora_unet_") and "attn2_to_" in name and key in weights:
            out, into = weights[key].shape
            tensors[f"{name}.lora_up.weight"] = torch.randn(out, 2, generator=generator) * 0.1
            tensors[f"{name}.lora_down.weight"] = torch.randn(2, into, generator=generator) * 0.1
    assert len(tensors) > 20
    return tensors


def lora(model: Any) -> Any:
    import comfy.sd

    return comfy.sd.load_lora_for_models(model, None, lora_weights(model), 1.0, 1.0)[0]


def free_u(model: Any) -> Any:
    from comfy_extras.nodes_freelunch import FreeU_V2

    return FreeU_V2().patch(model, 1.3, 1.4, 0.9, 0.2)[0]


def perturbed_attention(model: Any) -> Any:
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance

    return PerturbedAttentionGuidance.execute(model, 3.0).result[0]


def rescale_cfg(model: Any) -> Any:
    from comfy_extras.nodes_model_advanced import RescaleCFG

    return RescaleCFG().patch(model, 0.7)[0]


def hyper_tile(model: Any) -> Any:
    from comfy_extras.nodes_hypertile import HyperTile

    # The second depth is that of SDXL's first transformers; at the sizes of the tests they are really cut.
    return HyperTile.execute(model, 32, 2, 1, False)[0]


def merged(model: Any) -> Any:
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    return ModelMergeSimple().merge(model, lora(model), 0.5)[0]


COMPANIONS: dict[str, Callable[[Any], Any]] = {
    f.__name__: f for f in (lora, free_u, perturbed_attention, rescale_cfg, hyper_tile, merged, compiled)
}


def controlled(miniature: tuple, conditioning: Any) -> Any:
    """CONDITIONING with a ControlNet of random weights in the miniature's shape."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops
    from nodes import ControlNetApplyAdvanced

    left_out = ("out_channels", "transformer_depth_output", "disable_unet_model_creation", "dtype")
    config = {k: v for k, v in miniature[0].model.model_config.unet_config.items() if k not in left_out}
    torch.manual_seed(3)
    net = comfy.cldm.cldm.ControlNet(
        **config,
        hint_channels=3,
        operations=comfy.ops.manual_cast,
        dtype=torch.float32,
        device="cpu",
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    control = comfy.controlnet.ControlNet(net, load_device=torch.device("cpu"), manual_cast_dtype=None)
    apply = ControlNetApplyAdvanced().apply_controlnet
    return apply(conditioning, conditioning, control, torch.rand(1, 192, 192, 3), 1.0, 0.0, 1.0)[0]
