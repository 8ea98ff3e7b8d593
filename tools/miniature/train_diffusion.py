"""Train the miniature's UNet and text encoder together: v-prediction on the autoencoder's latents."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from saeuron.miniature.architecture import TEXT_CONFIG, UNET_CONFIG

from .optimizer import Optimizer
from .scenes import CANVAS, TRAINING_POOL, Pool, Scene, make_pool
from .text import END, START, caption_pool, tokenize, vocabulary
from .train_autoencoder import encoder_input, load_autoencoder
from .training import (
    autocast,
    cosine,
    import_host,
    load_checkpoint,
    require_checkpoint,
    save_checkpoint,
    seeded,
    trainable_operations,
    training_parser,
)

DROP_CAPTION = 0.1  # of the captions are empty, so that cfg above 1 works
EMA = 0.998  # a longer memory lags behind a model that still improves
EMA_GUIDED = 0.995  # the second stage is short


def encode_pool(work: Path, pool: Pool, device: torch.device) -> tuple[torch.Tensor, list[Scene]]:
    """Latents float16 [count, 4, h, w] of a pool of scenes, encoded once and kept."""
    pictures, scenes = make_pool(work, pool)
    file = work / f"latents-{pool.seed}-{pool.count}.npy"
    if not file.exists():
        autoencoder, rows = load_autoencoder(work, device), []
        batch = 16 if device.type == "cpu" else 500
        with torch.inference_mode(), autocast(device):
            for start in range(0, pool.count, batch):
                images = encoder_input(pictures[start : start + batch], device)
                rows.append(autoencoder.taesd_encoder(images).half().cpu())
        np.save(file, torch.cat(rows).numpy())
    return torch.from_numpy(np.load(file)), scenes


@cache
def noise_schedule() -> torch.Tensor:
    """Cumulative alphas [1000] of Stable Diffusion's scaled-linear schedule, the host's default."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


@cache
def size_embedding(size: int, device: torch.device) -> torch.Tensor:
    """SDXL's conditioning on original size, crop and target size for square pictures, [1, 1536]."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep

    numbers = torch.tensor([size, size, 0, 0, size, size], dtype=torch.float32)
    return Timestep(256)(numbers).flatten().unsqueeze(0).to(device)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, *_: Any, **__: Any) -> torch.Tensor:
    """[b, tokens, heads * d] -> the same."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    if q.is_cuda:
        mixed = F.scaled_dot_product_attention(q, k, v)
    else:  # three times as fast as torch's fused kernel at this size on a CPU
        mixed = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
    return mixed.transpose(1, 2).flatten(2)


class Miniature(torch.nn.Module):
    """UNet (the host's class) and text encoder (transformers'), as one trainable module."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        import comfy.ldm.modules.attention
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        comfy.ldm.modules.attention.optimized_attention = attention
        # Not channels last: bfloat16 GroupNorm is ten times slower that way on a CPU.
        self.unet = UNetModel(**UNET_CONFIG, dtype=torch.float32, device="cpu", operations=trainable_operations())
        known = vocabulary()
        special = {
            "vocab_size": len(known) + 1,
            "eos_token_id": known.index(END) + 1,
            "bos_token_id": known.index(START) + 1,
        }
        config = CLIPTextConfig(**{**TEXT_CONFIG, **special, "pad_token_id": special["eos_token_id"]})
        config._attn_implementation = "sdpa" if device.type == "cuda" else "eager"
        self.text = CLIPTextModelWithProjection(config)
        self.to(device)

    def outer_weights(self) -> list[torch.nn.Parameter]:
        """The matrices that face pictures or words."""
        words = [layer.weight for layer in self.modules() if isinstance(layer, torch.nn.Embedding)]
        return [self.unet.input_blocks[0][0].weight, self.unet.out[2].weight, *words]

    def encode_text(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.text(input_ids=tokens)
        return output.last_hidden_state, output.text_embeds

    def forward(self, x: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        context, pooled = self.encode_text(tokens)
        y = torch.cat([pooled, size_embedding(CANVAS, x.device).expand(len(x), -1)], dim=1)
        return self.unet(x, t, context=context, y=y)


def load_average(work: Path, device: torch.device) -> tuple[Miniature, int]:
    """The averaged model of the last checkpoint, for drawing, and how many steps it has behind it."""
    state = require_checkpoint(work / "diffusion.ckpt")
    model = Miniature(device).eval()
    model.load_state_dict(state["average"])
    return model, state["step"]


@dataclass(frozen=True)
class Plan:
    """`steps` in all; from `guided_from` on, the target is the guided prediction of the model as it was then.

    That is guidance distillation (Meng et al., arXiv 2210.03142, stage one): it makes cfg 1 draw what cfg `guidance`
    drew before, as on SDXL-Turbo.
    """

    steps: int
    guided_from: int
    guidance: float
    batch: int
    rate: float
    guided_batch: int
    guided_rate: float
    seed: int
    save_every: int = 250

    def batch_at(self, step: int) -> int:
        return self.guided_batch if step >= self.guided_from else self.batch

    def rate_at(self, step: int) -> float:
        """Each stage warms up and cools down by itself."""
        if step >= self.guided_from:
            return self.guided_rate * cosine(step - self.guided_from, self.steps - self.guided_from)
        return self.rate * cosine(step, self.guided_from)


class Run:
    """The models and the optimizer of a training run, as they stand after `step` steps."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        self.model, self.average, self.teacher = (Miniature(device) for _ in range(3))
        self.average.load_state_dict(self.model.state_dict())
        self.optimizer = Optimizer(self.model, self.model.outer_weights())
        self.step = 0

    def load(self, file: Path) -> None:
        if (state := load_checkpoint(file)) is None:
            return
        for name in ("model", "average", "teacher"):
            getattr(self, name).load_state_dict(state.get(name, state["average"]))
        if "optimizer" in state:  # weights alone will do, too
            self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def save(self, file: Path) -> None:
        names = ("model", "average", "teacher", "optimizer")
        save_checkpoint(file, {**{name: getattr(self, name).state_dict() for name in names}, "step": self.step})

    def begin_guided_stage(self) -> None:
        self.teacher.load_state_dict(self.average.state_dict())
        self.model.load_state_dict(self.average.state_dict())

    def update_average(self, decay: float) -> None:
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)


def noised(x0: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents at random noise levels, the timesteps, and the v that leads back."""
    batch, device = len(x0), x0.device
    # Stratified timesteps lower the variance of the loss at no cost.
    spread = torch.arange(batch, device=device) + torch.rand(batch, generator=generator, device=device)
    t = (spread / batch * 1000).long().clamp(max=999)
    alphas = noise_schedule().to(device)[t].view(-1, 1, 1, 1)
    signal, sigma = alphas.sqrt(), (1 - alphas).sqrt()
    noise = torch.randn(x0.shape, generator=generator, device=device)
    return signal * x0 + sigma * noise, t, signal * noise - sigma * x0


def train(work: Path, plan: Plan, device: torch.device) -> None:
    latents, _ = encode_pool(work, TRAINING_POOL, device)
    latents, captions = latents.to(device), caption_pool(work, TRAINING_POOL).to(device)
    empty, file = tokenize([""]).to(device), work / "diffusion.ckpt"
    run = Run(plan, device)
    run.load(file)
    began, losses = time.time(), []
    while run.step < plan.steps:
        step = run.step
        guided = step >= plan.guided_from
        if step == plan.guided_from:
            run.begin_guided_stage()
        generator, batch = seeded(device, plan.seed, step), plan.batch_at(step)
        index = torch.randint(len(latents), (batch,), generator=generator, device=device)
        wording = torch.randint(captions.shape[1], (batch,), generator=generator, device=device)
        dropped = torch.rand(batch, 1, generator=generator, device=device) < DROP_CAPTION
        tokens = torch.where(dropped, empty, captions[index, wording].long())
        x, t, target = noised(latents[index].float(), generator)
        with autocast(device):
            if guided:
                with torch.no_grad():
                    both = torch.cat([tokens, empty.expand(batch, -1)])
                    plain, base = run.teacher(x.repeat(2, 1, 1, 1), t.repeat(2), both).float().chunk(2)
                    target = base + plan.guidance * (plain - base)
            output = run.model(x, t, tokens)
        loss = F.mse_loss(output.float(), target)
        loss.backward()
        run.optimizer.step(plan.rate_at(step))
        run.update_average(EMA_GUIDED if guided else min(EMA, (step + 1) / (step + 10)))
        run.step += 1
        losses.append(loss.detach())
        if run.step % 50 == 0 or run.step == plan.steps:
            print(f"{run.step} {torch.stack(losses).mean():.4f} {time.time() - began:.0f} s", flush=True)
            losses.clear()
        if run.step % plan.save_every == 0 or run.step in (plan.guided_from, plan.steps):
            run.save(file)


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--guided-from", type=int, default=2200)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--guided-batch", type=int, default=512)
    parser.add_argument("--guided-rate", type=float, default=3e-4)
    parser.add_argument("--save-every", type=int, default=250)
    a = parser.parse_args()
    import_host()
    plan = Plan(
        a.steps, a.guided_from, a.guidance, a.batch, a.rate, a.guided_batch, a.guided_rate, a.seed, a.save_every
    )
    train(a.work, plan, a.device)


if __name__ == "__main__":
    main()
