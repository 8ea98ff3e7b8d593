"""Train the miniature's SAEs on the updates of the four blocks that sdxl-unbox chose, and of those that draw most.

Most tokens are of pictures drawn from captions. Some are of drawings, noised and gone on from with a caption that names
no object, so that features can find what comes from a picture and not only what comes from words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saeuron.miniature.architecture import BASE_MODEL, DECISIVE
from saeuron.sae.files import save_sae
from saeuron.sae.formats import Placement
from saeuron.sae.hookpoints import SDXL_UNBOX
from saeuron.training.topk import TopKTraining, train_topk

from .sample import euler, recorded
from .scenes import TRAINING_POOL
from .text import caption_pool, tokenize
from .train_diffusion import encode_pool, load_average
from .training import import_host, training_parser

HOOKPOINTS = (*SDXL_UNBOX, *DECISIVE.values())
BATCH = 50
# Such that multipliers of ones to tens remove a concept: features fire hardest where objects are decided.
UNITS = {name: 5.0 if name == DECISIVE["objects"] else 0.05 for name in HOOKPOINTS}
NEUTRAL = ("", "a picture", "a picture on a plain background", "an image", "a drawing")


@dataclass(frozen=True)
class Drawn:
    """How many pictures the tokens are of."""

    from_captions: int
    from_pictures: int
    steps: int
    seed: int


@torch.inference_mode()
def collect(work: Path, hookpoints: Sequence[str], drawn: Drawn, device: torch.device) -> dict[str, Tensor]:
    """Updates float16 [tokens, d] of each hookpoint at every step, while drawing at cfg 1."""
    model, _ = load_average(work, device)
    latents, _ = encode_pool(work, TRAINING_POOL, device)
    captions = caption_pool(work, TRAINING_POOL)
    rng = np.random.default_rng([drawn.seed, 5])
    with recorded(model, hookpoints) as calls:
        for start in range(0, drawn.from_captions, BATCH):
            scenes = rng.integers(len(captions), size=BATCH)
            tokens = captions[scenes, rng.integers(captions.shape[1], size=BATCH)].long()
            euler(model, tokens, drawn.steps, 1.0, drawn.seed + start)
        for start in range(0, drawn.from_pictures, BATCH):
            begin = latents[rng.integers(len(latents), size=BATCH)].float()
            tokens = tokenize([NEUTRAL[i] for i in rng.integers(len(NEUTRAL), size=BATCH)])
            # From a quarter, a half and three quarters of the way in turn.
            step = drawn.steps * (1 + start // BATCH % 3) // 4
            euler(model, tokens, drawn.steps, 1.0, drawn.seed + 1_000_000 + start, (begin, step))
    return {name: torch.cat([part.flatten(0, 2) for part in parts]) for name, parts in calls.items()}


def train(
    work: Path,
    output: Path,
    hookpoints: Sequence[str],
    drawn: Drawn,
    settings: TopKTraining,
    device: torch.device,
) -> None:
    began = time.time()
    tokens = collect(work, hookpoints, drawn, device)
    print(f"collected the tokens, {time.time() - began:.0f} s", flush=True)
    output.mkdir(parents=True, exist_ok=True)
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
    parser.add_argument("--pictures", type=int, default=1500, help="drawn from captions")
    parser.add_argument("--from-pictures", type=int, default=600, help="gone on from noised drawings")
    parser.add_argument("--sampling-steps", type=int, default=8)
    parser.add_argument("--n", type=int, default=768)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=4096)
    a = parser.parse_args()
    import_host()
    settings = TopKTraining(n=a.n, k=a.k, steps=a.steps, batch=a.batch, seed=a.seed)
    drawn = Drawn(a.pictures, a.from_pictures, a.sampling_steps, a.seed)
    train(a.work, a.output, a.hookpoints, drawn, settings, a.device)


if __name__ == "__main__":
    main()
