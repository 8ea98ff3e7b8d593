"""Where a training stands, on disk, so that it goes on bit for bit after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import SaeuronError
from ..files import check_format, read_safetensors, write_atomically
from ..json_text import format_json, parse_json

FORMAT = "saeuron-training"
VERSION = "1.0"


class Checkpoint(NamedTuple):
    tensors: Mapping[str, Tensor]
    losses: tuple[float, ...]
    """Of every step so far."""
    best: float | None
    """The least share of variance left unexplained so far, of the SAE that is kept."""
    evaluated: tuple[tuple[int, float], ...] = ()
    """Step, and the share of held-out variance that was left unexplained after it."""


def save_checkpoint(path: Path, asked: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """`asked`: JSON values that are the same only for the same training."""
    from safetensors.torch import save

    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "asked": format_json(asked),
        "losses": format_json(checkpoint.losses),
        "best": format_json(checkpoint.best),
        "evaluated": format_json(checkpoint.evaluated),
    }
    write_atomically(path, save({name: t.contiguous() for name, t in checkpoint.tensors.items()}, metadata))


def load_checkpoint(path: Path, asked: Mapping[str, Any]) -> Checkpoint | None:
    """None if there is none yet. Errors: `SaeuronError` for a damaged one, or one of another training."""
    if not path.exists():
        return None
    tensors, metadata = read_safetensors(path)
    check_format(metadata.get("format"), metadata.get("version"), FORMAT, VERSION, path.name)
    found, losses, best, evaluated = (
        parse_json(metadata.get(key, "null"), f"{path.name}: {key}") for key in ("asked", "losses", "best", "evaluated")
    )
    # Through JSON, which knows no tuples.
    wanted = parse_json(format_json(asked), path.name)
    if found != wanted:
        differing = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
        raise SaeuronError(
            f"{str(path.parent)!r} has a training with other settings ({', '.join(differing)} differ). Give the same "
            "ones to go on with it, or another folder to begin a new one."
        )
    if not isinstance(losses, list) or not isinstance(evaluated, list):
        raise SaeuronError(f"{path.name} is damaged: it holds no losses. Delete it to begin anew.")
    return Checkpoint(tensors, tuple(losses), best, tuple((step, share) for step, share in evaluated))
