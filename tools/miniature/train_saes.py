"""Train the miniature's SAEs on the updates of the four blocks that sdxl-unbox chose, and of those that draw most.

Most tokens are of pictures drawn from captions. Some are of drawings, noised and gone on from with a caption that names
no object, so that features can find what comes from a picture and not only what comes from words.

What the files say of how they do is written by `measure_saes`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saeuron.miniature.architecture import BASE_MODEL, DECISIVE
from saeuron.sae.files import save_sae
from saeuron.sae.formats import Placement
from saeuron.sae.hookpoints import SDXL_UNBOX
from saeuron.training.activations import Stored
from saeuron.training.run import Job, RunSettings, TrainingRun
from saeuron.training.settings import TrainingSettings

from .sample import Begin, euler, recorded, schedule
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


def drawing_batches(drawn: Drawn, captions: Tensor, latents: Tensor) -> Iterator[tuple[Tensor, int, Begin | None]]:
    """Captions as tokens, seed, and the pictures that are gone on from."""
    rng = np.random.default_rng([drawn.seed, 5])
    for start in range(0, drawn.from_captions, BATCH):
        scenes = rng.integers(len(captions), size=BATCH)
        yield captions[scenes, rng.integers(captions.shape[1], size=BATCH)].long(), drawn.seed + start, None
    for start in range(0, drawn.from_pictures, BATCH):
        begin = latents[rng.integers(len(latents), size=BATCH)].float()
        tokens = tokenize([NEUTRAL[i] for i in rng.integers(len(NEUTRAL), size=BATCH)])
        # From a quarter, a half and three quarters of the way in turn.
        yield tokens, drawn.seed + 1_000_000 + start, (begin, drawn.steps * (1 + start // BATCH % 3) // 4)


@torch.inference_mode()
def collect(work: Path, hookpoints: Sequence[str], drawn: Drawn, device: torch.device) -> Stored:
    """Updates of each hookpoint at every step, while drawing at cfg 1. What begins late has its steps from there on,
    and those of other pictures in place of the earlier ones."""
    model, _ = load_average(work, device)
    latents, _ = encode_pool(work, TRAINING_POOL, device)
    captions = caption_pool(work, TRAINING_POOL)
    parts: dict[str, list[list[Tensor]]] = {name: [[] for _ in range(drawn.steps)] for name in hookpoints}
    for tokens, seed, begin in drawing_batches(drawn, captions, latents):
        with recorded(model, hookpoints) as calls:
            euler(model, tokens, drawn.steps, 1.0, seed, begin)
        for name, updates in calls.items():
            for step, update in enumerate(updates, drawn.steps - len(updates)):
                parts[name][step].append(update.flatten(1, 2).cpu())
    sigmas = tuple(schedule(drawn.steps)[1][:-1])
    return Stored(BASE_MODEL, "update", sigmas, {name: _mixed(steps, drawn.seed) for name, steps in parts.items()})


def _mixed(steps: list[list[Tensor]], seed: int) -> Tensor:
    """[pictures, s, t, d]: as many pictures of every step as the least drawn one has, each step's in its own order."""
    whole = [torch.cat(own) for own in steps]
    least = min(map(len, whole))
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([own[torch.randperm(len(own), generator=generator)[:least]] for own in whole], 1).clone()


def train(
    work: Path, output: Path, hookpoints: Sequence[str], drawn: Drawn, settings: TrainingSettings, device: torch.device
) -> None:
    began = time.time()
    activations = collect(work, hookpoints, drawn, device)
    print(f"collected the tokens, {time.time() - began:.0f} s", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    jobs = [Job(name, replace(settings, unit=UNITS[name])) for name in hookpoints]
    run = TrainingRun(activations, jobs, RunSettings(pictures=drawn.from_captions), device=device)
    trained = run.run()
    for job in jobs:
        one = trained[job.name]
        place = Placement(BASE_MODEL, job.hookpoint, "update")
        save_sae(output / f"miniature-{job.hookpoint}.safetensors", one.sae, place, torch.float16)
        tokens = activations.tokens[job.hookpoint][..., 0].numel()
        figures = one.report.figures(BASE_MODEL).describe()
        print(f"{job.hookpoint}, {tokens} tokens: {figures}; {time.time() - began:.0f} s", flush=True)


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
    settings = TrainingSettings(n=a.n, k=a.k, steps=a.steps, batch=a.batch, seed=a.seed)
    drawn = Drawn(a.pictures, a.from_pictures, a.sampling_steps, a.seed)
    train(a.work, a.output, a.hookpoints, drawn, settings, a.device)


if __name__ == "__main__":
    main()
