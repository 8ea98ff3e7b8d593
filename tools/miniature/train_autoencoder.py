"""Train the miniature's autoencoder: TAESD's layout, 8x smaller, 4 channels of about unit variance."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .scenes import CANVAS, TRAINING_POOL, make_pool
from .training import (
    autocast,
    cosine,
    import_host,
    require_checkpoint,
    resume,
    save_progress,
    seeded,
    trainable_operations,
    training_parser,
)

CROP = 128
RATE = 1e-3
LATENT_NOISE = 0.12  # what the decoder learns to overlook, so small errors of the UNet do not show


def build_autoencoder() -> Any:  # the host's TAESD
    import comfy.taesd.taesd as taesd

    operations = trainable_operations()
    model = taesd.TAESD(latent_channels=4)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            operations.Conv2d.reset_parameters(module)
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def start_as_thumbnail(model: Any, images: torch.Tensor) -> None:
    """Initialise so that the untrained model already is an 8x smaller colour picture and back.

    Colours are the slowest thing this architecture learns from scratch; begun here, training only adds detail.
    Three channels are the whitened 8x8-pixel means of `images` (float32 [count, 3, h, w]); the fourth is a random
    feature scaled to unit variance, or the decoder would learn to ignore it.
    """
    colours = F.avg_pool2d(images, 8).permute(1, 0, 2, 3).flatten(1).T
    mean = colours.mean(0)
    variance, axes = torch.linalg.eigh(torch.cov(colours.T))
    whiten, colour = axes.T / variance.sqrt().unsqueeze(1), axes * variance.sqrt()
    for block in (m for m in model.modules() if type(m).__name__ == "Block"):
        block.conv[-1].weight.zero_()  # a block starts as the identity on what is not negative
        block.conv[-1].bias.zero_()
    encoder: list[Any] = [m for m in model.taesd_encoder if isinstance(m, torch.nn.Conv2d)]
    encoder[0].weight[:3] = 0
    encoder[0].bias[:3] = 0
    encoder[0].weight[range(3), range(3), 1, 1] = 1
    for conv in encoder[1:-1]:
        conv.weight[:3] = 0
        for channel in range(3):
            conv.weight[channel, channel, 1:, 1:] = 0.25  # 2x2 mean
    encoder[-1].weight[:3] = 0
    encoder[-1].weight[:3, :3, 1, 1] = whiten
    encoder[-1].bias[:3] = -whiten @ mean
    feature = model.taesd_encoder(images[:32])[:, 3]
    encoder[-1].bias[3] -= feature.mean()
    encoder[-1].weight[3] /= feature.std()
    encoder[-1].bias[3] /= feature.std()
    decoder: list[Any] = [m for m in model.taesd_decoder if isinstance(m, torch.nn.Conv2d)]
    decoder[0].weight[:8] = 0
    decoder[0].bias[:8] = 0
    decoder[0].weight[range(4), range(4), 1, 1] = 1  # both signs, as what follows passes only one
    decoder[0].weight[range(4, 8), range(4), 1, 1] = -1
    smooth = torch.tensor([1.0, 2.0, 1.0]) / 4
    for conv in decoder[1:-1]:
        conv.weight[:8] = 0
        for channel in range(8):
            conv.weight[channel, channel] = smooth[:, None] * smooth
    decoder[-1].weight.mul_(0.1)
    decoder[-1].weight[:, :8] = 0
    decoder[-1].weight[:, :3, 1, 1] = colour
    decoder[-1].weight[:, 4:7, 1, 1] = -colour
    decoder[-1].bias.copy_(mean)


def _edges(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return image[..., 1:] - image[..., :-1], image[..., 1:, :] - image[..., :-1, :]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 + MSE + edges, and a coarse term without which flat areas drift in colour."""
    edge = sum(
        (F.l1_loss(a, b) for a, b in zip(_edges(output), _edges(target), strict=True)),
        torch.zeros((), device=output.device),
    )
    coarse = F.l1_loss(F.avg_pool2d(output, 8), F.avg_pool2d(target, 8))
    return F.l1_loss(output, target) + 2 * F.mse_loss(output, target) + edge + coarse


def encoder_input(pictures: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 [b, h, w, 3] -> float 0..1 [b, 3, h, w]."""
    images = torch.as_tensor(np.array(pictures)).to(device).permute(0, 3, 1, 2).float().div(255)  # BHWC -> BCHW
    return images.contiguous(memory_format=torch.channels_last)


def load_autoencoder(work: Path, device: torch.device) -> Any:
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(require_checkpoint(work / "autoencoder.ckpt")["model"])
    return autoencoder.to(device)


def train(work: Path, steps: int, batch: int, seed: int, device: torch.device) -> None:
    pictures, _ = make_pool(work, TRAINING_POOL)
    torch.manual_seed(seed)
    model = build_autoencoder()
    start_as_thumbnail(model, encoder_input(pictures[:500], torch.device("cpu")))
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4, fused=True)
    file = work / "autoencoder.ckpt"
    start = resume(file, model, optimizer)
    began = time.time()
    for step in range(start, steps):
        generator = seeded(torch.device("cpu"), seed, step)
        index = torch.randint(len(pictures), (batch,), generator=generator).numpy()
        top, left = (int(v) for v in torch.randint(0, CANVAS - CROP + 1, (2,), generator=generator))
        images = encoder_input(pictures[index, top : top + CROP, left : left + CROP], device)
        for group in optimizer.param_groups:
            group["lr"] = RATE * cosine(step, steps)
        with autocast(device):
            latents = model.taesd_encoder(images)
            noise = torch.randn(latents.shape, generator=generator).to(device) * LATENT_NOISE
            output = model.taesd_decoder(latents + noise)
        latents, output = latents.float(), output.float()
        mean, variance = latents.mean((0, 2, 3)), latents.var((0, 2, 3))
        moments = (mean.square() + (variance - 1).square()).mean() + F.relu(latents.abs() - 3).square().mean()
        loss = reconstruction_loss(output, images) + 0.05 * moments
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            error = F.mse_loss(output, images).item()
            print(f"{step} {loss.item():.4f} mse {error:.5f} {time.time() - began:.0f} s", flush=True)
        if step % 500 == 499 or step == steps - 1:
            save_progress(file, model, optimizer, step + 1)


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    import_host()
    train(arguments.work, arguments.steps, arguments.batch, arguments.seed, arguments.device)


if __name__ == "__main__":
    main()
