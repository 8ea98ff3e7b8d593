"""Train the two judges, small ResNets for object and style, on drawings and what the autoencoder makes of them.

Convolutions, because objects lie anywhere: a ViT of the same size needed many times the steps (85 % after 1,200).

They never see a picture that the diffusion model made, which is what they will judge.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .drawings import OBJECTS, STYLES
from .scenes import HELD_OUT_POOL, TRAINING_POOL, make_pool
from .train_autoencoder import encoder_input, load_autoencoder
from .training import cosine, import_host, resume, save_progress, training_parser

SIZE = 128
RATE = 2e-3
JUDGES = {"objects": list(OBJECTS), "styles": list(STYLES)}

# uint8 pictures [count, 3, SIZE, SIZE], reconstructions of the first of them, labels per judge
Pool = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]


def build_classifier(labels: list[str]) -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    shape: dict[str, Any] = {
        "embedding_size": 24,
        "hidden_sizes": [24, 32, 48, 80],
        "depths": [1, 1, 2, 2],
        "layer_type": "basic",
    }
    names = dict(enumerate(labels))
    return ResNetForImageClassification(
        ResNetConfig(**shape, id2label=names, label2id={label: index for index, label in names.items()})
    )


def small(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [b, h, w, 3] -> uint8 [b, 3, SIZE, SIZE]."""
    images = pictures.permute(0, 3, 1, 2).float()
    return F.interpolate(images, SIZE, mode="bilinear", antialias=True).round().clamp(0, 255).byte()


@torch.inference_mode()
def reconstructions(work: Path, pictures: np.ndarray, seed: int) -> torch.Tensor:
    """Each picture through the autoencoder, with up to 0.3 noise on the latents: uint8 [b, 3, SIZE, SIZE]."""
    file = work / f"reconstructions-{seed}-{len(pictures)}.npy"
    if not file.exists():
        autoencoder = load_autoencoder(work)
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for start in range(0, len(pictures), 16):
            with torch.autocast("cpu", torch.bfloat16):
                latents = autoencoder.taesd_encoder(encoder_input(pictures[start : start + 16]))
                level = torch.rand(len(latents), 1, 1, 1, generator=generator) * 0.3
                decoded = autoencoder.taesd_decoder(latents + level * torch.randn(latents.shape, generator=generator))
            rows.append(small(decoded.float().clamp(0, 1).mul(255).permute(0, 2, 3, 1)))
        np.save(file, torch.cat(rows).numpy())
    return torch.from_numpy(np.load(file))


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """uint8 [b, 3, s, s] -> float in -1..1 with jittered colours, a small shift and sometimes blur."""
    x = images.float().div(127.5).sub(1)
    b = len(x)
    gain = 1 + 0.3 * (torch.rand(b, 1, 1, 1, generator=generator) - 0.5)
    tint = 0.2 * (torch.rand(b, 3, 1, 1, generator=generator) - 0.5)
    x = x * gain + tint
    shift = [int(v) for v in torch.randint(-8, 9, (2,), generator=generator)]
    x = torch.roll(F.pad(x, (8, 8, 8, 8), mode="replicate"), shift, (2, 3))[..., 8:-8, 8:-8]
    if torch.rand((), generator=generator) < 0.3:
        x = F.interpolate(F.avg_pool2d(x, 2), x.shape[-1], mode="bilinear")
    return (x + 0.05 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def train(work: Path, output: Path, judges: list[str], steps: int, batch: int, seed: int) -> None:
    pools: dict[str, Pool] = {}
    for name, (pool_seed, count), reconstructed in (("fit", TRAINING_POOL, 5000), ("heldout", HELD_OUT_POOL, 1000)):
        pictures, scenes = make_pool(work, pool_seed, count)
        plain = torch.cat([small(torch.from_numpy(pictures[i : i + 500].copy())) for i in range(0, count, 500)])
        labels = {
            "objects": torch.tensor([JUDGES["objects"].index(scene.object) for scene in scenes]),
            "styles": torch.tensor([JUDGES["styles"].index(scene.style) for scene in scenes]),
        }
        pools[name] = (plain, reconstructions(work, pictures[:reconstructed], pool_seed), labels)
    figures_file = output / "accuracy.json"
    figures = json.loads(figures_file.read_text()) if figures_file.exists() else {}
    for judge in judges:
        model = fit(judge, pools["fit"], work, steps, batch, seed).eval()
        plain, rebuilt, labels = pools["heldout"]
        figures[judge] = {
            "heldout_drawings": accuracy(model, plain, labels[judge]),
            "heldout_reconstructions": accuracy(model, rebuilt, labels[judge][: len(rebuilt)]),
            "pictures": len(plain),
        }
        print(judge, figures[judge], flush=True)
        save(model, output / judge)
        figures_file.write_text(json.dumps(figures, indent=2) + "\n")


def fit(judge: str, pool: Pool, work: Path, steps: int, batch: int, seed: int) -> Any:
    torch.manual_seed(seed)
    model = build_classifier(JUDGES[judge])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05, fused=True)
    plain, rebuilt, labels = pool
    images, target = torch.cat([plain, rebuilt]), torch.cat([labels[judge], labels[judge][: len(rebuilt)]])
    file, began = work / f"classifier-{judge}.ckpt", time.time()
    start = resume(file, model, optimizer)
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = torch.randint(len(images), (batch,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = RATE * cosine(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixel_values=augment(images[index], generator)).logits
        loss = F.cross_entropy(logits.float(), target[index], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 199 or step == steps - 1:
            print(f"{judge} {step + 1} {loss.item():.3f} {time.time() - began:.0f} s", flush=True)
            save_progress(file, model, optimizer, step + 1)
    return model


@torch.inference_mode()
def accuracy(model: Any, images: torch.Tensor, labels: torch.Tensor) -> float:
    hits = 0
    for start in range(0, len(images), 250):
        logits = model(pixel_values=images[start : start + 250].float().div(127.5).sub(1)).logits
        hits += int((logits.argmax(1) == labels[start : start + 250]).sum())
    return hits / len(images)


def save(model: Any, folder: Path) -> None:
    from transformers import ViTImageProcessor

    model.half().save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("saeuron/miniature/classifiers"))
    parser.add_argument("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64)
    a = parser.parse_args()
    import_host()
    train(a.work, a.output, a.judges, a.steps, a.batch, a.seed)


if __name__ == "__main__":
    main()
