"""Train the miniature's SAEs on the updates of the four blocks that sdxl-unbox chose, and of those that draw most."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saeuron.miniature.architecture import BASE_MODEL, DECISIVE
from saeuron.sae.files import save_sae
from saeuron.sae.formats import Placement
from saeuron.sae.hookpoints import SDXL_UNBOX, find_hookpoint
from saeuron.training.topk import TopKTraining, train_topk

from .sample import euler
from .scenes import TRAINING_POOL, caption, make_pool
from .text import tokenize
from .train_diffusion import load_average
from .training import import_host, training_parser

HOOKPOINTS = (*SDXL_UNBOX, *DECISIVE.values())
BATCH = 50
# Such that multipliers of ones to tens remove a concept: features fire hardest where objects are decided.
UNITS = {name: 5.0 if name == DECISIVE["objects"] else 0.05 for name in HOOKPOINTS}


@torch.inference_mode()
def collect(work: Path, hookpoints: Sequence[str], pictures: int, steps: int, seed: int) -> dict[str, Tensor]:
    """Updates float16 [tokens, d] of each hookpoint at every step, while drawing random captions at cfg 1."""
    _, scenes = make_pool(work, *TRAINING_POOL)
    model, _ = load_average(work)
    tokens: dict[str, list[Tensor]] = {name: [] for name in hookpoints}

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            update = (output.float() - inputs[0].float()).permute(0, 2, 3, 1)  # BCHW -> BHWC
            tokens[name].append(update.reshape(-1, update.shape[-1]).half())

        return hook

    for name in hookpoints:
        model.unet.get_submodule(find_hookpoint(name, "sdxl").module).register_forward_hook(keep(name))
    rng = np.random.default_rng([seed, 5])
    for start in range(0, pictures, BATCH):
        texts = [caption(rng, scenes[i]) for i in rng.integers(len(scenes), size=BATCH)]
        euler(model, tokenize(texts), steps, 1.0, seed + start)
    return {name: torch.cat(parts) for name, parts in tokens.items()}


def train(
    work: Path, output: Path, hookpoints: Sequence[str], pictures: int, steps: int, settings: TopKTraining
) -> None:
    began = time.time()
    tokens = collect(work, hookpoints, pictures, steps, settings.seed)
    print(f"collected the tokens of {pictures} pictures, {time.time() - began:.0f} s", flush=True)
    listed = output / "figures.json"
    figures = json.loads(listed.read_text()) if listed.exists() else {}
    for name in hookpoints:
        sae, report = train_topk(tokens[name], replace(settings, unit=UNITS[name]))
        place = Placement(BASE_MODEL, name, "update")
        save_sae(output / f"miniature-{name}.safetensors", sae, place, torch.float16)
        figures[name] = {"fvu": round(report.fvu, 4), "dead": round(report.dead, 4), "tokens": len(tokens[name])}
        print(name, figures[name], f"{time.time() - began:.0f} s", flush=True)
        listed.write_text(json.dumps(figures, indent=2) + "\n")


def main() -> None:
    parser = training_parser(__doc__, seed=0)
    parser.add_argument("--output", type=Path, default=Path("saeuron/miniature/saes"))
    parser.add_argument("--hookpoints", nargs="+", default=HOOKPOINTS, choices=HOOKPOINTS)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--sampling-steps", type=int, default=8)
    parser.add_argument("--n", type=int, default=768)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    import_host()
    settings = TopKTraining(n=arguments.n, k=arguments.k, steps=arguments.steps, seed=arguments.seed)
    train(
        arguments.work,
        arguments.output,
        arguments.hookpoints,
        arguments.pictures,
        arguments.sampling_steps,
        settings,
    )


if __name__ == "__main__":
    main()
