"""Train the judges, small ResNets for object, style and halves, on drawings and what the autoencoder makes of them.

The judge of halves sees a picture with one half painted gray and says which object is on the other, or that nothing is.
Convolutions, because objects lie anywhere: a ViT of the same size needed many times the steps (85 % after 1,200).

They never see a picture that the diffusion model made, which is what they will judge.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saeuron.evaluation.halves import HALVES, NOTHING

from .drawings import OBJECTS, STYLES
from .scenes import HALF_POOL, HELD_OUT_HALF_POOL, HELD_OUT_POOL, TRAINING_POOL, Pool, Scene, make_pool
from .train_autoencoder import encoder_input, load_autoencoder
from .training import autocast, cosine, import_host, resume, save_progress, seeded, training_parser

SIZE = 128
RATE = 2e-3
JUDGES = {"objects": list(OBJECTS), "styles": list(STYLES), "halves": [*OBJECTS, NOTHING]}
UNKNOWN = -1  # label of a picture that a judge is not asked about
FROM_TRAINING_POOL = 18_000  # pictures; more fill the memory


@dataclass(frozen=True)
class Examples:
    """Pictures uint8 [count, 3, SIZE, SIZE], the autoencoder's copies, and labels [count, 1], or 4 halves, a judge."""

    plain: Tensor
    rebuilt: Tensor
    labels: dict[str, Tensor]


def labels_of(judge: str, scene: Scene) -> list[int]:
    """An index into `JUDGES`, or `UNKNOWN`; of halves, four."""
    if judge == "halves":
        found = [scene.on_half(half) for half in HALVES]
    elif judge == "styles":
        found = [scene.style if scene.things else None]
    else:
        found = [scene.things[0].object if len(scene.things) == 1 else None]
    return [UNKNOWN if name is None else JUDGES[judge].index(name) for name in found]


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


def small(pictures: Tensor) -> Tensor:
    """uint8 or float [b, h, w, 3] -> uint8 [b, 3, SIZE, SIZE]."""
    images = pictures.permute(0, 3, 1, 2).float()
    return F.interpolate(images, SIZE, mode="bilinear", antialias=True).round().clamp(0, 255).byte()


@torch.inference_mode()
def rebuild(pictures: np.ndarray, autoencoder: Any, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures made small, and so through the autoencoder, with up to 0.3 noise on the latents."""
    device = generator.device
    with autocast(device):
        latents = autoencoder.taesd_encoder(encoder_input(pictures, device))
        level = torch.rand(len(latents), 1, 1, 1, generator=generator, device=device) * 0.3
        noise = torch.randn(latents.shape, generator=generator, device=device)
        decoded = autoencoder.taesd_decoder(latents + level * noise)
    rebuilt = small(decoded.float().clamp(0, 1).mul(255).permute(0, 2, 3, 1))
    return small(torch.from_numpy(np.array(pictures)).to(device)), rebuilt


def load_examples(work: Path, pools: dict[Pool, int], device: torch.device) -> Examples:
    """The first so many pictures of each pool; made once and kept."""
    name = "-".join(f"{pool.seed}-{count}" for pool, count in pools.items())
    file = work / f"examples-{name}.npz"
    if not file.exists():
        autoencoder, pairs = load_autoencoder(work, device), []
        labels: dict[str, list[list[int]]] = {judge: [] for judge in JUDGES}
        batch = 16 if device.type == "cpu" else 250
        for pool, count in pools.items():
            pictures, scenes = make_pool(work, pool)
            generator = seeded(device, pool.seed)
            for start in range(0, count, batch):
                pair = rebuild(pictures[start : min(start + batch, count)], autoencoder, generator)
                pairs.append([part.cpu() for part in pair])
            for judge, rows in labels.items():
                rows += [labels_of(judge, scene) for scene in scenes[:count]]
        plain, rebuilt = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))
        arrays: dict[str, Any] = {judge: np.array(rows) for judge, rows in labels.items()}
        np.savez(file, plain=plain, rebuilt=rebuilt, **arrays)
    with np.load(file) as kept:
        tensors = {key: torch.from_numpy(kept[key]).to(device) for key in kept.files}
    return Examples(tensors.pop("plain"), tensors.pop("rebuilt"), tensors)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 [b, 3, s, s] -> float in -1..1 with jittered colours, a small shift and sometimes blur."""
    device, b = images.device, len(images)
    x = images.float().div(127.5).sub(1)
    gain = 1 + 0.3 * (torch.rand(b, 1, 1, 1, generator=generator, device=device) - 0.5)
    tint = 0.2 * (torch.rand(b, 3, 1, 1, generator=generator, device=device) - 0.5)
    x = x * gain + tint
    shift = torch.randint(-8, 9, (2,), generator=generator, device=device).tolist()
    x = torch.roll(F.pad(x, (8, 8, 8, 8), mode="replicate"), shift, (2, 3))[..., 8:-8, 8:-8]
    if torch.rand((), generator=generator, device=device) < 0.3:
        x = F.interpolate(F.avg_pool2d(x, 2), x.shape[-1], mode="bilinear")
    return (x + 0.05 * torch.randn(x.shape, generator=generator, device=device)).clamp(-1, 1)


def half_masks(device: torch.device) -> Tensor:
    """[4, 1, SIZE, SIZE]: 1 on each of `HALVES`."""
    masks, middle = torch.zeros(len(HALVES), 1, SIZE, SIZE, device=device), SIZE // 2
    masks[0, ..., :middle] = masks[1, ..., middle:] = 1
    masks[2, :, :middle] = masks[3, :, middle:] = 1
    return masks


def train(work: Path, output: Path, judges: list[str], steps: int, batch: int, seed: int, device: torch.device) -> None:
    examples = load_examples(work, {TRAINING_POOL: FROM_TRAINING_POOL, HALF_POOL: HALF_POOL.count}, device)
    held_out = {HELD_OUT_POOL: HELD_OUT_POOL.count, HELD_OUT_HALF_POOL: HELD_OUT_HALF_POOL.count}
    unseen = load_examples(work, held_out, device)
    output.mkdir(parents=True, exist_ok=True)
    figures_file = output / "accuracy.json"
    figures = json.loads(figures_file.read_text()) if figures_file.exists() else {}
    for judge in judges:
        model = fit(judge, examples, work, steps, batch, seed).eval()
        labels = unseen.labels[judge]
        figures[judge] = {
            "heldout_drawings": round(accuracy(model, judge, unseen.plain, labels), 4),
            "heldout_reconstructions": round(accuracy(model, judge, unseen.rebuilt, labels), 4),
            "pictures": int((labels != UNKNOWN).sum()),
        }
        print(judge, figures[judge], flush=True)
        save(model.cpu(), output / judge)
        figures_file.write_text(json.dumps(figures, indent=2) + "\n")


def fit(judge: str, examples: Examples, work: Path, steps: int, batch: int, seed: int) -> Any:
    device = examples.plain.device
    torch.manual_seed(seed)
    model = build_classifier(JUDGES[judge]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05, fused=True)
    images, labels = torch.cat([examples.plain, examples.rebuilt]), examples.labels[judge].repeat(2, 1)
    usable = (labels != UNKNOWN).any(1).nonzero().flatten()
    masks = half_masks(device)
    file, began = work / f"classifier-{judge}.ckpt", time.time()
    for step in range(resume(file, model, optimizer), steps):
        generator = seeded(device, seed, step)
        index = usable[torch.randint(len(usable), (batch,), generator=generator, device=device)]
        x = augment(images[index], generator)
        asked = torch.multinomial((labels[index] != UNKNOWN).float(), 1, generator=generator)
        if judge == "halves":
            x = x * masks[asked.flatten()]
        for group in optimizer.param_groups:
            group["lr"] = RATE * cosine(step, steps)
        with autocast(device):
            logits = model(pixel_values=x).logits
        loss = F.cross_entropy(logits.float(), labels[index].gather(1, asked).flatten(), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 199 or step == steps - 1:
            print(f"{judge} {step + 1} {loss.item():.3f} {time.time() - began:.0f} s", flush=True)
            save_progress(file, model, optimizer, step + 1)
    return model


@torch.inference_mode()
def accuracy(model: Any, judge: str, images: Tensor, labels: Tensor) -> float:
    """Of all answers, of halves each that is asked about."""
    hits, masks = 0, half_masks(images.device)
    for column in range(labels.shape[1]):
        for index in (labels[:, column] != UNKNOWN).nonzero().flatten().split(250):
            x = images[index].float().div(127.5).sub(1)
            logits = model(pixel_values=x * masks[column] if judge == "halves" else x).logits
            hits += int((logits.argmax(1) == labels[index, column]).sum())
    return hits / int((labels != UNKNOWN).sum())


def save(model: Any, folder: Path) -> None:
    from transformers import ViTImageProcessor

    model.half().save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("saeuron/miniature/classifiers"))
    parser.add_argument("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128)
    a = parser.parse_args()
    import_host()
    train(a.work, a.output, a.judges, a.steps, a.batch, a.seed, a.device)


if __name__ == "__main__":
    main()
