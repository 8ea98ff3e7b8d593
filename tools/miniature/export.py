"""Write the trained miniature as the safetensors files that the pack ships, float16."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from saeuron.miniature.loading import EMBEDDING, FOLDER, PREVIEW

from .scenes import TRAINING_POOL, make_pool
from .text import vocabulary
from .train_diffusion import encode_pool
from .training import import_host, require_checkpoint

SDXL_SCALE = 0.13025  # the host multiplies SDXL latents with this before the UNet sees them


def preview_colours(pictures: Tensor, latents: Tensor) -> dict[str, Tensor]:
    """Least-squares map from a latent to the colour (-1..1) of its 8x8 pixels."""
    colour = F.avg_pool2d(pictures.permute(0, 3, 1, 2).float().div(127.5).sub(1), 8).permute(0, 2, 3, 1).reshape(-1, 3)
    rows = latents.permute(0, 2, 3, 1).reshape(-1, 4).float()
    solution = torch.linalg.lstsq(torch.cat([rows, torch.ones(len(rows), 1)], 1), colour).solution
    return dict(zip(PREVIEW, (solution[:4], solution[4]), strict=True))


def export(work: Path, folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    autoencoder = require_checkpoint(work / "autoencoder.ckpt")
    diffusion = require_checkpoint(work / "diffusion.ckpt")
    pictures, _ = make_pool(work, TRAINING_POOL)
    latents, _ = encode_pool(work, TRAINING_POOL, torch.device("cpu"))
    parts: dict[str, dict[str, Tensor]] = {"unet": {}, "text": {}, "autoencoder": dict(autoencoder["model"])}
    for name, tensor in diffusion["average"].items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    parts["autoencoder"]["vae_scale"] = torch.tensor(SDXL_SCALE)
    parts["autoencoder"].update(preview_colours(torch.from_numpy(pictures[:200].copy()), latents[:200]))
    parts["text"] = {name: tensor for name, tensor in parts["text"].items() if tensor.is_floating_point()}
    assert len(parts["text"][EMBEDDING]) == len(vocabulary()) + 1
    for part, tensors in parts.items():
        stored = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
        if part == "text":
            stored["token_ids"] = torch.tensor(vocabulary())
        save_file(stored, folder / f"{part}.safetensors")
    print(
        f"exported step {diffusion['step']}: {sum(f.stat().st_size for f in folder.iterdir()) / 1e6:.1f} MB", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("output/miniature"))
    parser.add_argument("--output", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    import_host()
    export(arguments.work, arguments.output)


if __name__ == "__main__":
    main()
