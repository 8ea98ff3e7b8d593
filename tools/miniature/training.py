"""What every miniature training shares: the host's classes made trainable, schedules, checkpoints."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch

from tools.host.unpack import host_path


def training_parser(description: str | None, seed: int = 1) -> argparse.ArgumentParser:
    """A parser with what every step of the training takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, default=Path("output/miniature"), help="checkpoints and made data")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument(
        "--device", type=torch.device, default=torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    return parser


def import_host() -> None:
    """Make ComfyUI's ``comfy`` package importable; its own choice of a device is the CPU, whatever trains here."""
    sys.path.insert(0, str(host_path()))
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu", "--use-pytorch-cross-attention"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args

    sys.argv = arguments


def trainable_operations() -> Any:
    """The host's layer classes with torch's initialisation, which the host leaves out."""
    import comfy.ops

    base = comfy.ops.disable_weight_init

    class Operations(base):  # type: ignore[misc, valid-type]
        pass

    for name in ("Linear", "Conv2d", "GroupNorm", "LayerNorm", "Embedding"):
        layer, plain = getattr(base, name), getattr(torch.nn, name)
        setattr(Operations, name, type(name, (layer,), {"reset_parameters": plain.reset_parameters}))
    return Operations


def autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16)


def seeded(device: torch.device, seed: int, step: int = 0) -> torch.Generator:
    """A generator on `device` for one step, so that training that goes on draws what it would have drawn."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)


def cosine(step: int, steps: int, warmup: int = 100) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    return torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None


def require_checkpoint(path: Path) -> dict[str, Any]:
    state = load_checkpoint(path)
    if state is None:
        raise SystemExit(f"There is no {path.name} in {path.parent}; run the training that writes it first.")
    return state


def resume(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load what `save_progress` wrote, if it is there, and return the step to go on with.

    Weights alone, as `restore` makes them, will do, too; the optimizer then begins anew.
    """
    state = load_checkpoint(path)
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def save_progress(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    save_checkpoint(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
