"""Draw with the miniature in batches, straight from its checkpoint, and judge the pictures: for use while training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .drawings import OBJECTS, STYLES
from .text import tokenize
from .train_autoencoder import load_autoencoder
from .train_classifiers import JUDGES
from .train_diffusion import Miniature, load_average, noise_schedule
from .training import import_host, training_parser


@torch.inference_mode()
def euler(model: Miniature, tokens: Tensor, steps: int, cfg: float, seed: int) -> Tensor:
    """Latents [b, 4, 24, 24] by Euler steps of the probability-flow ODE, on the host's ``sgm_uniform`` schedule."""
    alphas = noise_schedule()
    all_sigmas = ((1 - alphas) / alphas).sqrt()
    timesteps = torch.linspace(999, 0, steps + 1)[:-1].round().long()
    sigmas = [*all_sigmas[timesteps].tolist(), 0.0]
    x = torch.randn(len(tokens), 4, 24, 24, generator=torch.Generator().manual_seed(seed)) * (1 + sigmas[0] ** 2) ** 0.5
    empty = tokenize([""]).expand(len(tokens), -1)
    for t, sigma, following in zip(timesteps, sigmas, sigmas[1:], strict=False):
        scaled, when = x / (sigma**2 + 1) ** 0.5, t.expand(len(x))
        v = model(scaled, when, tokens)
        if cfg != 1:
            base = model(scaled, when, empty)
            v = base + cfg * (v - base)
        denoised = x / (sigma**2 + 1) - v * sigma / (sigma**2 + 1) ** 0.5
        x = denoised + (x - denoised) / sigma * following
    return x


@torch.inference_mode()
def judge(work: Path, classifiers: Path, per_cell: int, steps: int, cfg: float, seed: int) -> None:
    from PIL import Image

    from saeuron.evaluation.classifier import Classifier

    model, trained = load_average(work)
    autoencoder = load_autoencoder(work)
    judges = {name: Classifier(classifiers / name) for name in JUDGES if (classifiers / name).exists()}
    cells = [(o, s) for o in OBJECTS for s in STYLES] * per_cell
    hits = {name: torch.zeros(20) if name == "objects" else torch.zeros(5) for name in JUDGES}
    rows = []
    for start in range(0, len(cells), 50):
        part = cells[start : start + 50]
        names = [OBJECTS[o][1][0] for o, _ in part]
        tokens = tokenize([f"a {n} in {s} style" for n, (_, s) in zip(names, part, strict=True)])
        with torch.autocast("cpu", torch.bfloat16):
            pictures = autoencoder.taesd_decoder(euler(model, tokens, steps, cfg, seed + start))
        rows.append(pictures.float().clamp(0, 1).mul(255).round().permute(0, 2, 3, 1).byte())
        for name, classifier in judges.items():
            for found, cell in zip(classifier.classify(rows[-1].numpy()), part, strict=True):
                asked = cell[name == "styles"]
                hits[name][JUDGES[name].index(asked)] += found == asked
    for name in judges:
        each = hits[name] / (len(cells) / len(hits[name]))
        print(
            f"step {trained} steps {steps} cfg {cfg} {name}: {each.mean():.3f}",
            dict(zip(JUDGES[name], each.tolist(), strict=True)),
        )
    grid = torch.cat(rows)[:100].reshape(20, 5, *rows[0].shape[1:])[:, :, ::2, ::2]
    sheet = torch.cat([torch.cat(list(grid[i]), 0) for i in range(20)], 1)
    Image.fromarray(sheet.numpy()).save(work / f"sheet-{steps}-{cfg:g}.png")


def main() -> None:
    parser = training_parser(__doc__, seed=0)
    parser.add_argument("--classifiers", type=Path, default=Path("saeuron/miniature/classifiers"))
    parser.add_argument("--per-cell", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--cfg", type=float, default=1.0)
    arguments = parser.parse_args()
    import_host()
    judge(arguments.work, arguments.classifiers, arguments.per_cell, arguments.steps, arguments.cfg, arguments.seed)


if __name__ == "__main__":
    main()
