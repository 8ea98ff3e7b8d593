"""Train the miniature's CLIP (Radford et al., arXiv 2103.00020) on drawings and captions, never on its own pictures.

Only the vision side is shipped, in the shape that the host's CLIP_VISION loads.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .scenes import CANVAS, HELD_OUT_POOL, TRAINING_POOL, make_pool
from .text import END, START, caption_pool, vocabulary
from .train_autoencoder import encoder_input, load_autoencoder
from .training import autocast, cosine, import_host, resume, save_progress, seeded, training_parser

RATE = 1e-3
WORDS = 48  # captions are shorter
# CLIP's own, which the host's CLIP_VISION normalises with.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SHAPE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "projection_dim": 128,
}


def build_clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    known = vocabulary()
    end = known.index(END) + 1
    text = {
        **SHAPE,
        "num_hidden_layers": 2,
        "vocab_size": len(known) + 1,
        "max_position_embeddings": WORDS,
        "eos_token_id": end,
        "bos_token_id": known.index(START) + 1,
        "pad_token_id": end,
    }
    vision = {**SHAPE, "image_size": CANVAS, "patch_size": 24}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=SHAPE["projection_dim"]))


def pixels(pictures: Tensor) -> Tensor:
    """uint8 [b, h, w, 3] -> float [b, 3, h, w] as the host hands them to CLIP."""
    x = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / std


def disturbed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted, blurred or noisy, as pictures that a model draws are: float [b, 3, h, w]."""
    x = pixels(pictures)
    shift = torch.randint(-6, 7, (2,), generator=generator, device=x.device).tolist()
    x = torch.roll(F.pad(x, (6, 6, 6, 6), mode="replicate"), shift, (2, 3))[..., 6:-6, 6:-6]
    if torch.rand((), generator=generator, device=x.device) < 0.3:
        x = F.interpolate(F.avg_pool2d(x, 4), x.shape[-1], mode="bilinear")
    return x + 0.1 * torch.randn(x.shape, generator=generator, device=x.device)


def train(work: Path, output: Path, steps: int, batch: int, seed: int, device: torch.device) -> None:
    pictures, _ = make_pool(work, TRAINING_POOL)
    captions = caption_pool(work, TRAINING_POOL)[..., :WORDS]
    torch.manual_seed(seed)
    model = build_clip().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    file, began = work / "clip.ckpt", time.time()
    for step in range(resume(file, model, optimizer), steps):
        rng = np.random.default_rng([seed, 11, step])
        index = np.sort(rng.choice(len(pictures), batch, replace=False))
        tokens = captions[index, rng.integers(captions.shape[1], size=batch)].long().to(device)
        for group in optimizer.param_groups:
            group["lr"] = RATE * cosine(step, steps)
        with autocast(device):
            images = disturbed(torch.from_numpy(pictures[index]).to(device), seeded(device, seed, step))
            logits = model(input_ids=tokens, pixel_values=images).logits_per_image
        target = torch.arange(batch, device=device)
        loss = (F.cross_entropy(logits.float(), target) + F.cross_entropy(logits.float().T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99 or step == steps - 1:
            print(f"clip {step + 1} {loss.item():.3f} {time.time() - began:.0f} s", flush=True)
            save_progress(file, model, optimizer, step + 1)
    figures = {"steps": steps, **agreement(model, work, device)}
    save(model.cpu(), output)
    (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(figures, flush=True)


@torch.inference_mode()
def agreement(model: Any, work: Path, device: torch.device) -> dict[str, float | int]:
    """How often the nearest other held-out picture, drawn through the autoencoder, shows the same: of those of one
    object the same object and style, of those of two things both and at least one of them."""
    pictures, scenes = make_pool(work, HELD_OUT_POOL)
    model, autoencoder, rows = model.float().eval(), load_autoencoder(work, device), []
    for start in range(0, len(pictures), 50):
        images = encoder_input(pictures[start : start + 50], device)
        rebuilt = autoencoder.taesd_decoder(autoencoder.taesd_encoder(images))
        output = model.vision_model(pixel_values=pixels(rebuilt.clamp(0, 1).mul(255).permute(0, 2, 3, 1).byte()))
        rows.append(F.normalize(model.visual_projection(output.pooler_output), dim=1))
    places = {count: [i for i, scene in enumerate(scenes) if len(scene.things) == count] for count in (1, 2)}
    objects = [{thing.object for thing in scene.things} for scene in scenes]

    def nearest(count: int) -> list[tuple[int, int]]:
        chosen = torch.cat(rows)[places[count]]
        found = (chosen @ chosen.T).fill_diagonal_(-1).argmax(1).tolist()
        return [(places[count][i], places[count][j]) for i, j in enumerate(found)]

    one, two = nearest(1), nearest(2)
    return {
        "nearest_same_object": float(np.mean([objects[i] == objects[j] for i, j in one])),
        "nearest_same_style": float(np.mean([scenes[i].style == scenes[j].style for i, j in one])),
        "pictures": len(one),
        "nearest_same_pair": float(np.mean([objects[i] == objects[j] for i, j in two])),
        "nearest_shares_object": float(np.mean([bool(objects[i] & objects[j]) for i, j in two])),
        "pairs": len(two),
    }


def save(model: Any, folder: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    vision = CLIPVisionModelWithProjection(model.config.vision_config)
    ours = ("vision_model.", "visual_projection.")
    vision.load_state_dict({name: t for name, t in model.state_dict().items() if name.startswith(ours)})
    vision.half().save_pretrained(folder)
    # For use outside the host; the host does the same by itself.
    size = {"shortest_edge": CANVAS}
    CLIPImageProcessor(size=size, crop_size={"height": CANVAS, "width": CANVAS}).save_pretrained(folder)


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("saeuron/miniature/clip"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=128)
    a = parser.parse_args()
    import_host()
    a.output.mkdir(parents=True, exist_ok=True)
    train(a.work, a.output, a.steps, a.batch, a.seed, a.device)


if __name__ == "__main__":
    main()
