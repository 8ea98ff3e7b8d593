"""Make checkpoints from the shipped weights, so that training can go on where they stopped: the inverse of export.

The optimizer's state is not shipped; training begins it anew. ``--step`` says where in the plan to go on. Words that
the captions use now, and did not when the weights were made, begin as the text encoder's unknown word.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from saeuron.miniature.loading import EMBEDDING, FOLDER, PREVIEW

from .text import vocabulary
from .training import import_host, save_checkpoint

NEW_WORD_NOISE = 0.1  # of the table's root mean square coordinate, so that new words can part


def carried_over(rows: Tensor, ids: Sequence[int], wanted: Sequence[int], seed: int) -> Tensor:
    """The table [len(ids) + 1, width] of the tokens `ids` made into that of the tokens `wanted`."""
    assert len(rows) == len(ids) + 1
    noise = torch.randn(len(wanted), rows.shape[1], generator=torch.Generator().manual_seed(seed))
    fresh = rows[0] + NEW_WORD_NOISE * rows.square().mean().sqrt() * noise
    place = {token: index + 1 for index, token in enumerate(ids)}
    known = [rows[place[token]] if token in place else row for token, row in zip(wanted, fresh, strict=True)]
    return torch.stack([rows[0], *known])


def restore(folder: Path, work: Path, step: int, seed: int) -> None:
    from safetensors.torch import load_file

    parts = {part: load_file(folder / f"{part}.safetensors") for part in ("unet", "text", "autoencoder")}
    ids = parts["text"].pop("token_ids").tolist()
    parts["text"][EMBEDDING] = carried_over(parts["text"][EMBEDDING].float(), ids, vocabulary(), seed)
    autoencoder = {name: t.float() for name, t in parts["autoencoder"].items() if name not in PREVIEW}
    diffusion = {f"{part}.{name}": t.float() for part in ("unet", "text") for name, t in parts[part].items()}
    work.mkdir(parents=True, exist_ok=True)
    save_checkpoint(work / "autoencoder.ckpt", {"model": autoencoder, "step": 0})
    save_checkpoint(work / "diffusion.ckpt", {"model": diffusion, "average": diffusion, "step": step})
    print(f"restored with {len(set(vocabulary()) - set(ids))} new tokens of {len(vocabulary())}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=Path("output/miniature"))
    parser.add_argument("--step", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    import_host()
    restore(arguments.weights, arguments.work, arguments.step, arguments.seed)


if __name__ == "__main__":
    main()
