"""Activations on disk: float16 shards of some pictures each, and an index with their checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..files import check_format, read_text, resolve_inside, sha256_of, write_atomically
from ..json_text import format_json, parse_json
from ..schedule import check_schedule
from .activations import Activations

FORMAT = "saeuron-activations"
VERSION = "1.0"
INDEX = "activations.json"
MAX_INDEX_BYTES = 64 << 20
PICTURES = 64
"""In a shard."""


def shard_name(number: int) -> str:
    return f"activations-{number:05d}.safetensors"


def write_shard(folder: Path, activations: Activations, number: int, pictures: int) -> dict[str, Any]:
    """Write shard `number` of the first `pictures` pictures; its entry for the index."""
    from safetensors.torch import save

    own = range(number * PICTURES, min((number + 1) * PICTURES, pictures))
    tokens = {name: t.to(torch.float16).contiguous().cpu() for name, t in activations.read(list(own)).items()}
    for name, values in tokens.items():
        if not torch.isfinite(values).all():
            raise SaeuronError(f"The activations at {name} are not finite in float16; they can't be stored.")
    path = folder / shard_name(number)
    write_atomically(path, save(tokens))
    labels = [activations.label(picture) for picture in own]
    return {"file": path.name, "pictures": len(own), "sha256": sha256_of(path), "labels": labels}


def shards_in(pictures: int) -> int:
    return -(-pictures // PICTURES)


def write_index(folder: Path, activations: Activations, shards: Sequence[Mapping[str, Any]]) -> None:
    document = {
        "format": FORMAT,
        "version": VERSION,
        "base_model": activations.base_model,
        "kind": activations.kind,
        "sigmas": list(activations.sigmas),
        "widths": dict(activations.widths),
        "shards": list(shards),
    }
    write_atomically(folder / INDEX, f"{format_json(document)}\n".encode())


class StoredShards:
    """The `Activations` that `write_shard` and `write_index` put into a folder.

    A shard is compared with its checksum when it is first read. Errors: `SaeuronError` for a folder without an index,
    a damaged index or shard.
    """

    def __init__(self, folder: Path) -> None:
        text = read_text(folder / INDEX, MAX_INDEX_BYTES) if (folder / INDEX).exists() else ""
        if not text:
            raise SaeuronError(
                f"{folder} holds no activations: there is no {INDEX} in it. Record some with "
                "`python -m saeuron record`."
            )
        index = parse_json(text, INDEX)
        if not isinstance(index, dict):
            raise SaeuronError(f"{INDEX} must hold a JSON object.")
        check_format(index.get("format"), index.get("version"), FORMAT, VERSION, INDEX)
        try:
            self.base_model, self.kind = str(index["base_model"]), str(index["kind"])
            self.sigmas = check_schedule(index["sigmas"])
            self.widths = {str(name): int(width) for name, width in index["widths"].items()}
            self._files = [resolve_inside(folder, str(shard["file"])) for shard in index["shards"]]
            self._checksums = [str(shard["sha256"]) for shard in index["shards"]]
            counts = [int(shard["pictures"]) for shard in index["shards"]]
            self._labels = [str(label) for shard in index["shards"] for label in shard["labels"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SaeuronError(f"{INDEX} is damaged: {error!r}. Record the activations again.") from error
        self._places = [(shard, row) for shard, count in enumerate(counts) for row in range(count)]
        self.pictures: int | None = len(self._places)
        if not self._places or len(self._labels) != len(self._places):
            raise SaeuronError(f"{INDEX} is damaged: it does not have one label for each picture.")
        self.source = {"shards": hashlib.sha256(" ".join(self._checksums).encode()).hexdigest()}
        self._checked: set[int] = set()

    def label(self, picture: int) -> str:
        return self._labels[picture]

    def read(self, pictures: Sequence[int]) -> dict[str, Tensor]:
        rows: list[dict[str, Tensor]] = [self._row(*self._places[picture]) for picture in pictures]
        return {name: torch.stack([row[name] for row in rows]) for name in self.widths}

    def _row(self, shard: int, row: int) -> dict[str, Tensor]:
        """Hookpoint -> [s, t, d] of one picture; nothing else of its shard is read."""
        from safetensors import SafetensorError, safe_open

        path = self._files[shard]
        if shard not in self._checked and sha256_of(path) != self._checksums[shard]:
            raise SaeuronError(f"{path.name} is damaged: its checksum is not that of the index. Record it again.")
        self._checked.add(shard)
        found = {}
        try:
            with safe_open(path, framework="pt") as file:
                for name in self.widths:
                    found[name] = file.get_slice(name)[row]
        except (SafetensorError, IndexError, ValueError) as error:
            raise SaeuronError(f"{path.name} does not hold what the index says: {error}. Record it again.") from error
        for name, width in self.widths.items():
            if found[name].ndim != 3 or (found[name].shape[0], found[name].shape[2]) != (len(self.sigmas), width):
                raise SaeuronError(
                    f"{path.name} does not hold {len(self.sigmas)} steps of tokens {width} wide at {name}."
                )
        return found
