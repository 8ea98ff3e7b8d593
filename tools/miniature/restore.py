"""Make checkpoints from the shipped weights, so that training can go on where they stopped: the inverse of export.

The optimizer's state is not shipped; training begins it anew. ``--step`` says where in the plan to go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from saeuron.miniature.loading import EMBEDDING, FOLDER, PREVIEW

from .text import vocabulary
from .training import import_host, save_checkpoint


def restore(folder: Path, work: Path, step: int) -> None:
    from safetensors.torch import load_file

    parts = {part: load_file(folder / f"{part}.safetensors") for part in ("unet", "text", "autoencoder")}
    ids = parts["text"].pop("token_ids").tolist()
    if tuple(ids) != vocabulary():
        raise SystemExit("The captions use other words than the shipped text encoder was trained with.")
    assert len(parts["text"][EMBEDDING]) == len(ids) + 1
    autoencoder = {name: t.float() for name, t in parts["autoencoder"].items() if name not in PREVIEW}
    diffusion = {f"{part}.{name}": t.float() for part in ("unet", "text") for name, t in parts[part].items()}
    work.mkdir(parents=True, exist_ok=True)
    save_checkpoint(work / "autoencoder.ckpt", {"model": autoencoder, "step": 0})
    save_checkpoint(work / "diffusion.ckpt", {"model": diffusion, "average": diffusion, "step": step})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=Path("output/miniature"))
    parser.add_argument("--step", type=int, default=0)
    arguments = parser.parse_args()
    import_host()
    restore(arguments.weights, arguments.work, arguments.step)


if __name__ == "__main__":
    main()
