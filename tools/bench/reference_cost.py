"""What NNsight adds to a step of the UNet: no edit, the edit in a plain forward hook, the same edit under NNsight.

Counted is the CPU time of one thread, so that what else the machine does matters little. All three are timed in turns,
and a ratio is taken within one round, so that a machine that slows down slows all three.

    python -m tools.bench.reference_cost [--sdxl] [--rounds 15]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saeuron.cli.options import MINIATURE_SAE
from saeuron.edits.apply import apply_edits
from saeuron.edits.call import POSITIVE, Call, Row
from saeuron.edits.intervention import Intervention
from saeuron.features.finding import features_by_index
from saeuron.reference.miniature import build_unet
from saeuron.reference.tracing import Reader, TracedUNet
from saeuron.sae.files import load_sae
from saeuron.sae.model import SAEIdentity, SparseAutoencoder
from tools.bench.timing import time_in_turns

HOOKPOINT = "up_blocks.0.attentions.1"
SIGMA = 1.0
PLAIN, HOOK, NNSIGHT = "plain", "hook", "NNsight"


class Case(NamedTuple):
    """A UNet, what one step hands it, and the edit."""

    name: str
    unet: Any
    arguments: tuple[Tensor, ...]
    options: dict[str, Any]
    reader: Reader


def miniature() -> Case:
    sae, identity, *_ = load_sae(MINIATURE_SAE)
    return _case("miniature, 192 x 192", build_unet(), 24, 128, 128, sae, identity)


def sdxl() -> Case:
    """SDXL's UNet at full size. Its weights are slices of one random buffer, so it needs a tenth of a gigabyte."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(320, 640, 1280),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
    buffer = 0.02 * torch.randn(max(weight.numel() for weight in unet.parameters()))
    for module in unet.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            values = buffer[: weight.numel()].view(weight.shape)
            setattr(module, name, nn.Parameter(values, requires_grad=False))
    sae = SparseAutoencoder(d=1280, n=5120, k=10)
    for weight in sae.parameters():
        weight.data.normal_(0, 1280**-0.5)
    identity = SAEIdentity("", "sdxl", HOOKPOINT, "update", sae.d, sae.n, sae.k)
    return _case("SDXL, 512 x 512, random weights", unet.eval(), 64, 2048, 1280, sae, identity)


def _case(
    name: str, unet: Any, side: int, text: int, pooled: int, sae: SparseAutoencoder, identity: SAEIdentity
) -> Case:
    generator = torch.Generator().manual_seed(0)
    latent, context, summary = (
        torch.randn(shape, generator=generator) for shape in ((1, 4, side, side), (1, 77, text), (1, pooled))
    )
    sizes = torch.tensor([[side * 8.0, side * 8.0, 0.0, 0.0, side * 8.0, side * 8.0]])
    intervention = Intervention(features_by_index(identity, range(10), ""), -1.0, rule="gamma")
    return Case(
        name,
        unet,
        (latent, torch.tensor(500)),
        {"encoder_hidden_states": context, "added_cond_kwargs": {"text_embeds": summary, "time_ids": sizes}},
        partial(apply_edits, sae, identity.kind, [intervention], Call(SIGMA, 0, (Row(POSITIVE),))),
    )


def ways(case: Case) -> dict[str, Callable[[], Tensor]]:
    """What is timed; each gives the UNet's prediction."""
    traced = TracedUNet(case.unet)

    @torch.inference_mode()
    def plain() -> Tensor:
        prediction: Tensor = case.unet(*case.arguments, **case.options, return_dict=False)[0]
        return prediction

    def hook(_module: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> tuple[Tensor]:
        edited = case.reader(inputs[0].permute(0, 2, 3, 1), output[0].permute(0, 2, 3, 1))  # BCHW -> BHWC
        assert edited is not None
        return (edited.permute(0, 3, 1, 2).contiguous(),)  # BHWC -> BCHW

    def hooked() -> Tensor:
        handle = case.unet.get_submodule(HOOKPOINT).register_forward_hook(hook)
        try:
            return plain()
        finally:
            handle.remove()

    return {
        PLAIN: plain,
        HOOK: hooked,
        NNSIGHT: lambda: traced({HOOKPOINT: case.reader}, *case.arguments, **case.options),
    }


def table(name: str, seconds: Mapping[str, list[float]]) -> str:
    """Markdown: the median of each, and of its ratio to a plain step of the same round."""
    lines = [f"{name}, {len(seconds[PLAIN])} rounds", ""]
    lines += ["| Step | ms | x plain |", "| --- | --- | --- |"]
    for way, own in seconds.items():
        ratio = median(a / b for a, b in zip(own, seconds[PLAIN], strict=True))
        lines.append(f"| {way} | {1000 * median(own):.0f} | {ratio:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdxl", action="store_true", help="SDXL's full size in place of the miniature; minutes")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    case = sdxl() if arguments.sdxl else miniature()
    print(table(case.name, time_in_turns(ways(case), arguments.rounds, clock=process_time)))


if __name__ == "__main__":
    main()
