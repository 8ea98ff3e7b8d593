"""Train the miniature's UNet and text encoder together: v-prediction on the autoencoder's latents."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from saeuron.miniature.architecture import TEXT_CONFIG, UNET_CONFIG

from .scenes import CANVAS, caption, make_pool
from .text import END, START, tokenize, vocabulary
from .train_autoencoder import build_autoencoder
from .training import cosine, import_host, load_checkpoint, save_checkpoint, trainable_operations

DROP_CAPTION = 0.1  # of the captions are empty, so that cfg above 1 works
EMA = 0.9995


def encode_pool(work: Path, drawings: Path, seed: int, count: int) -> tuple[torch.Tensor, list]:
    """Latents float16 [count, 4, h, w] of a pool of scenes, encoded once and kept."""
    pictures, scenes = make_pool(work, drawings, seed, count)
    file = work / f"latents-{seed}-{count}.npy"
    if not file.exists():
        autoencoder = build_autoencoder()
        autoencoder.load_state_dict(load_checkpoint(work / "autoencoder.ckpt")["model"])  # type: ignore[index]
        rows = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for start in range(0, count, 16):
                images = torch.from_numpy(pictures[start : start + 16].copy()).permute(0, 3, 1, 2).float().div(255)
                rows.append(autoencoder.taesd_encoder(images.contiguous(memory_format=torch.channels_last)).half())
        np.save(file, torch.cat(rows).numpy())
    return torch.from_numpy(np.load(file)), scenes


def noise_schedule() -> torch.Tensor:
    """Cumulative alphas [1000] of Stable Diffusion's scaled-linear schedule, the host's default."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def size_embedding(size: int) -> torch.Tensor:
    """SDXL's conditioning on original size, crop and target size for square pictures, [1, 1536]."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep

    numbers = torch.tensor([size, size, 0, 0, size, size], dtype=torch.float32)
    return Timestep(256)(numbers).flatten().unsqueeze(0)


class Miniature(torch.nn.Module):
    """UNet (the host's class) and text encoder (transformers'), as one trainable module."""

    def __init__(self) -> None:
        super().__init__()
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        self.unet = UNetModel(**UNET_CONFIG, dtype=torch.float32, device="cpu", operations=trainable_operations())
        self.unet.to(memory_format=torch.channels_last)
        known = vocabulary()
        special = {"vocab_size": len(known) + 1, "eos_token_id": known.index(END) + 1, "bos_token_id": known.index(START) + 1}
        self.text = CLIPTextModelWithProjection(CLIPTextConfig(**{**TEXT_CONFIG, **special, "pad_token_id": special["eos_token_id"]}))

    def encode_text(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.text(input_ids=tokens)
        return output.last_hidden_state, output.text_embeds

    def forward(self, x: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        context, pooled = self.encode_text(tokens)
        y = torch.cat([pooled, size_embedding(CANVAS).expand(len(x), -1)], dim=1)
        return self.unet(x, t, context=context, y=y)


def train(work: Path, drawings: Path, steps: int, batch: int, seed: int, rate: float) -> None:
    latents, scenes = encode_pool(work, drawings, 1, 10000)
    print(f"latents mean {latents.float().mean((0, 2, 3)).tolist()} std {latents.float().std((0, 2, 3)).tolist()}", flush=True)
    torch.manual_seed(seed)
    model, average = Miniature(), Miniature()
    average.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    alphas = noise_schedule()
    start, file = 0, work / "diffusion.ckpt"
    if (state := load_checkpoint(file)) is not None:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    began, losses = time.time(), []
    for step in range(start, steps):
        rng = np.random.default_rng([seed, 77, step])
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = rng.integers(len(scenes), size=batch)
        texts = ["" if rng.random() < DROP_CAPTION else caption(rng, scenes[i]) for i in index]
        tokens = tokenize(texts, rng)
        x0 = latents[index].float()
        # Stratified timesteps lower the variance of the loss at no cost.
        t = ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * 1000).long()
        signal, sigma = (alphas[t].sqrt().view(-1, 1, 1, 1), (1 - alphas[t]).sqrt().view(-1, 1, 1, 1))
        noise = torch.randn(x0.shape, generator=generator)
        x = (signal * x0 + sigma * noise).contiguous(memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(x, t, tokens)
        loss = F.mse_loss(output.float(), signal * noise - sigma * x0)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(EMA, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        losses.append(loss.item())
        if step % 50 == 49 or step == steps - 1:
            print(f"{step + 1} {np.mean(losses):.4f} {time.time() - began:.0f} s", flush=True)
            losses.clear()
        if step % 250 == 249 or step == steps - 1:
            state = {"model": model.state_dict(), "average": average.state_dict()}
            save_checkpoint(file, {**state, "optimizer": optimizer.state_dict(), "step": step + 1})


def main(options: list[str] | None = None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", type=Path, required=True, help="folder of ComfyUI's source")
    parser.add_argument("--work", type=Path, default=Path("output/miniature"))
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(options)
    import_host(arguments.host)
    train(arguments.work, arguments.work / "drawings", arguments.steps, arguments.batch, arguments.seed, arguments.rate)


if __name__ == "__main__":
    main()
