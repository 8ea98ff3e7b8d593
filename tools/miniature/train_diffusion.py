"""Train the miniature's UNet and text encoder together: v-prediction on the autoencoder's latents."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from saeuron.miniature.architecture import TEXT_CONFIG, UNET_CONFIG

from .scenes import CANVAS, TRAINING_POOL, caption, make_pool
from .text import END, START, tokenize, vocabulary
from .train_autoencoder import encoder_input, load_autoencoder
from .training import (
    cosine,
    import_host,
    load_checkpoint,
    require_checkpoint,
    save_checkpoint,
    trainable_operations,
    training_parser,
)

DROP_CAPTION = 0.1  # of the captions are empty, so that cfg above 1 works
EMA = 0.998  # a longer memory lags behind a model that still improves
EMA_GUIDED = 0.995  # the second stage is short


def encode_pool(work: Path, seed: int, count: int) -> tuple[torch.Tensor, list]:
    """Latents float16 [count, 4, h, w] of a pool of scenes, encoded once and kept."""
    pictures, scenes = make_pool(work, seed, count)
    file = work / f"latents-{seed}-{count}.npy"
    if not file.exists():
        autoencoder = load_autoencoder(work)
        rows = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for start in range(0, count, 16):
                rows.append(autoencoder.taesd_encoder(encoder_input(pictures[start : start + 16])).half())
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


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, *_: Any, **__: Any) -> torch.Tensor:
    """[b, tokens, heads * d] -> the same; three times as fast as torch's fused kernel at this size on a CPU."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class Miniature(torch.nn.Module):
    """UNet (the host's class) and text encoder (transformers'), as one trainable module."""

    def __init__(self) -> None:
        super().__init__()
        import comfy.ldm.modules.attention
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        comfy.ldm.modules.attention.optimized_attention = plain_attention
        # Not channels last: bfloat16 GroupNorm is ten times slower that way on a CPU.
        self.unet = UNetModel(**UNET_CONFIG, dtype=torch.float32, device="cpu", operations=trainable_operations())
        known = vocabulary()
        special = {
            "vocab_size": len(known) + 1,
            "eos_token_id": known.index(END) + 1,
            "bos_token_id": known.index(START) + 1,
        }
        config = CLIPTextConfig(**{**TEXT_CONFIG, **special, "pad_token_id": special["eos_token_id"]})
        config._attn_implementation = "eager"
        self.text = CLIPTextModelWithProjection(config)

    def encode_text(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.text(input_ids=tokens)
        return output.last_hidden_state, output.text_embeds

    def forward(self, x: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        context, pooled = self.encode_text(tokens)
        y = torch.cat([pooled, size_embedding(CANVAS).expand(len(x), -1)], dim=1)
        return self.unet(x, t, context=context, y=y)


def load_average(work: Path) -> tuple[Miniature, int]:
    """The averaged model of the last checkpoint, for drawing, and how many steps it has behind it."""
    state = require_checkpoint(work / "diffusion.ckpt")
    model = Miniature().eval()
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

    def batch_at(self, step: int) -> int:
        return self.guided_batch if step >= self.guided_from else self.batch

    def rate_at(self, step: int) -> float:
        """Each stage warms up and cools down by itself."""
        if step >= self.guided_from:
            return self.guided_rate * cosine(step - self.guided_from, self.steps - self.guided_from)
        return self.rate * cosine(step, self.guided_from)


class Optimizer:
    """Muon (Jordan et al. 2024) for the matrices inside, convolutions flattened to matrices too; AdamW for the rest."""

    def __init__(self, model: Miniature) -> None:
        outer = {id(model.unet.input_blocks[0][0].weight), id(model.unet.out[2].weight)}
        outer |= {id(layer.weight) for layer in model.modules() if isinstance(layer, torch.nn.Embedding)}
        self.inner = [p for p in model.parameters() if p.ndim > 1 and id(p) not in outer]
        chosen = {id(p) for p in self.inner}
        others = [p for p in model.parameters() if id(p) not in chosen]
        self.matrices = [torch.nn.Parameter(p.detach().flatten(1)) for p in self.inner]  # the same storage
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(self.matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
        ]
        self.parameters = [*self.inner, *others]

    def step(self, rate: float) -> None:
        """One step; clears the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for matrix, parameter in zip(self.matrices, self.inner, strict=True):
            matrix.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {str(index): part.state_dict() for index, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for index, part in enumerate(self.parts):
            part.load_state_dict(state[str(index)])


class Run:
    """The models and the optimizer of a training run, as they stand after `step` steps."""

    def __init__(self, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.model, self.average, self.teacher = Miniature(), Miniature(), Miniature()
        self.average.load_state_dict(self.model.state_dict())
        self.optimizer = Optimizer(self.model)
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


def train(work: Path, plan: Plan) -> None:
    latents, scenes = encode_pool(work, *TRAINING_POOL)
    alphas, empty, file = noise_schedule(), tokenize([""]), work / "diffusion.ckpt"
    run = Run(plan)
    run.load(file)
    began, losses = time.time(), []
    while run.step < plan.steps:
        step = run.step
        guided = step >= plan.guided_from
        if step == plan.guided_from:
            run.begin_guided_stage()
        rng = np.random.default_rng([plan.seed, 77, step])
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        batch = plan.batch_at(step)
        index = rng.integers(len(scenes), size=batch)
        texts = ["" if rng.random() < DROP_CAPTION else caption(rng, scenes[i]) for i in index]
        tokens = tokenize(texts, rng)
        x0 = latents[index].float()
        # Stratified timesteps lower the variance of the loss at no cost.
        t = ((torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * 1000).long()
        signal, sigma = alphas[t].sqrt().view(-1, 1, 1, 1), (1 - alphas[t]).sqrt().view(-1, 1, 1, 1)
        noise = torch.randn(x0.shape, generator=generator)
        x = signal * x0 + sigma * noise
        target = signal * noise - sigma * x0
        with torch.autocast("cpu", torch.bfloat16):
            if guided:
                with torch.no_grad():
                    plain = run.teacher(x, t, tokens)
                    base = run.teacher(x, t, empty.expand(len(x), -1))
                    target = (base + plan.guidance * (plain - base)).float()
            output = run.model(x, t, tokens)
        loss = F.mse_loss(output.float(), target)
        loss.backward()
        run.optimizer.step(plan.rate_at(step))
        run.update_average(EMA_GUIDED if guided else min(EMA, (step + 1) / (step + 10)))
        run.step += 1
        losses.append(loss.item())
        if run.step % 50 == 0 or run.step == plan.steps:
            print(f"{run.step} {np.mean(losses):.4f} {time.time() - began:.0f} s", flush=True)
            losses.clear()
        if run.step % 250 == 0 or run.step == plan.steps:
            run.save(file)


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--guided-from", type=int, default=4500)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--guided-batch", type=int, default=16)
    parser.add_argument("--guided-rate", type=float, default=3e-4)
    a = parser.parse_args()
    import_host()
    plan = Plan(a.steps, a.guided_from, a.guidance, a.batch, a.rate, a.guided_batch, a.guided_rate, a.seed)
    train(a.work, plan)


if __name__ == "__main__":
    main()
