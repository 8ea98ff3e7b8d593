"""The codes of some pictures at the first, noisiest step: what a detector is calibrated on once features are chosen.

Sums can't tell on what share of a picture's tokens features fire together, so the codes themselves are kept, of few
enough pictures that their size is bounded. Which pictures is settled by hashes of their names: any shards of the
prompts, merged in any order, keep the same ones as a single pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..sae.model import JUMPRELU, SAEIdentity, SparseCodes

KEPT = 256
"""Pictures, at most."""

KEPT_TOKENS = 1024
"""Tokens of a picture, at most; of a larger map so many are taken, evenly spaced: a share needs no more."""

KEPT_CODES = 128
"""Codes of a token, at most, of JumpReLU SAEs, where there can be any number: the largest.

A ReLU SAE may have thousands, which would make files of gigabytes. A detector goes by features that stand out.
"""

TENSORS = ("picture_keys", "picture_tokens", "picture_values", "picture_indices")

_LARGEST = torch.finfo(torch.float16).max


class _Picture(NamedTuple):
    values: Tensor
    """[t, k] float16."""

    indices: Tensor
    """[t, k] int16, or int32 where there are too many features."""

    def order(self) -> bytes:
        """Decides between two recordings of one picture, whichever was made first."""
        return self.values.numpy().tobytes() + self.indices.numpy().tobytes()


class KeptPictures:
    """At most `KEPT` pictures of at most `KEPT_TOKENS` tokens, on the CPU.

    In memory and in a file alike they take at most k MiB (2 k MiB for SAEs of more than 32,768 features): 10 MiB for
    SDXL-Turbo's with k 10 and pictures of 1024 px, a quarter of it at 512 px. For JumpReLU SAEs k is `KEPT_CODES`.
    """

    def __init__(self, sae: SAEIdentity) -> None:
        self._sae = sae
        self._pictures: dict[int, _Picture] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, names: Sequence[str], values: Tensor, indices: Tensor) -> None:
        """Codes [B, ..., k], checked and on the CPU, of the pictures `names`.

        Values are rounded to float16; those beyond its range become its largest.
        """
        values = values.flatten(1, -2).clamp(max=_LARGEST).to(torch.float16)
        indices = indices.flatten(1, -2).to(_index_type(self._sae))
        tokens = values.shape[1]
        if tokens > KEPT_TOKENS:
            chosen = torch.arange(KEPT_TOKENS) * tokens // KEPT_TOKENS
            values, indices = values[:, chosen], indices[:, chosen]
        for name, *codes in zip(names, values, indices, strict=True):
            self._put(_key(name), _picture(self._sae, *codes))
        self._trim()

    def merge(self, other: KeptPictures) -> KeptPictures:
        """The pictures that one pass over both would have kept, as new ones; both are of the same SAE."""
        merged = KeptPictures(self._sae)
        for pictures in (self, other):
            for key, picture in pictures._pictures.items():
                merged._put(key, picture)
        merged._trim()
        return merged

    def codes(self) -> list[SparseCodes]:
        """Each picture's codes, float32 and int64 [t, k], in an order that has nothing to do with what they show."""
        return [SparseCodes(values.float(), indices.long()) for _, (values, indices) in sorted(self._pictures.items())]

    def named(self, names: Iterable[str]) -> dict[str, SparseCodes]:
        """The codes, float32 and int64 [t, k], of those of `names` that are kept."""
        kept = {name: self._pictures[_key(name)] for name in names if _key(name) in self._pictures}
        return {name: SparseCodes(own.values.float(), own.indices.long()) for name, own in kept.items()}

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds, `TENSORS`; nothing if there are no pictures."""
        if not self._pictures:
            return {}
        keys, pictures = zip(*sorted(self._pictures.items()), strict=True)
        width = max(picture.values.shape[1] for picture in pictures)
        return {
            "picture_keys": torch.tensor(keys, dtype=torch.int64),
            "picture_tokens": torch.tensor([len(picture.values) for picture in pictures], dtype=torch.int64),
            "picture_values": torch.cat([_widened(picture.values, width) for picture in pictures]),
            "picture_indices": torch.cat([_widened(picture.indices, width) for picture in pictures]),
        }

    @classmethod
    def from_tensors(cls, sae: SAEIdentity, tensors: Mapping[str, Tensor], source: str) -> KeptPictures:
        """What `tensors` gave; without any of them no pictures. `source` names the file in messages.

        Errors: `SaeuronError` for what `tensors` can't have given.
        """
        pictures = cls(sae)
        found = [tensors[name] for name in TENSORS if name in tensors]
        if not found:
            return pictures
        if len(found) < len(TENSORS) or not _fit(sae, *found):
            raise SaeuronError(f"{source} holds pictures' codes that can't be; it is damaged. Collect it again.")
        keys, tokens, values, indices = found
        parts = zip(values.split(tokens.tolist()), indices.split(tokens.tolist()), strict=True)
        pictures._pictures = {key: _picture(sae, *part) for key, part in zip(keys.tolist(), parts, strict=True)}
        return pictures

    def _put(self, key: int, picture: _Picture) -> None:
        known = self._pictures.get(key)
        if known is None or picture.order() < known.order():
            self._pictures[key] = picture

    def _trim(self) -> None:
        for key in sorted(self._pictures)[KEPT:]:
            del self._pictures[key]


def _picture(sae: SAEIdentity, values: Tensor, indices: Tensor) -> _Picture:
    """Codes [t, k] as they are kept: in rows of their own, which do not hold their whole batch.

    Those of a JumpReLU SAE are as wide as their batch needed. They are brought into one form, whatever they came with:
    the largest first, of equal ones the lower feature, and no wider than they must be.
    """
    if sae.activation != JUMPRELU:
        return _Picture(values.clone(), indices.clone())
    by_feature = indices.argsort(-1)
    values, indices = values.gather(-1, by_feature), indices.gather(-1, by_feature)
    largest = values.float().argsort(dim=-1, descending=True, stable=True)
    width = min(max(int((values > 0).sum(-1).max()), 1), KEPT_CODES)
    values, indices = (own.gather(-1, largest)[:, :width].clone() for own in (values, indices))
    return _Picture(values, indices.masked_fill(values == 0, 0))


def _key(name: str) -> int:
    """63 bits, so that a signed number holds them."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def _widened(codes: Tensor, width: int) -> Tensor:
    """`codes` [t, k] with further columns of 0, which no feature is active in: [t, width]."""
    return torch.nn.functional.pad(codes, (0, width - codes.shape[1]))


def _index_type(sae: SAEIdentity) -> torch.dtype:
    # Not uint16, of which torch knows little and older versions nothing.
    return torch.int16 if sae.n <= 1 << 15 else torch.int32


def _fit(sae: SAEIdentity, keys: Tensor, tokens: Tensor, values: Tensor, indices: Tensor) -> bool:
    types = (keys.dtype, tokens.dtype, values.dtype, indices.dtype)
    if types != (torch.int64, torch.int64, torch.float16, _index_type(sae)):
        return False
    if keys.ndim != 1 or keys.shape != tokens.shape or not 1 <= len(keys) <= KEPT:
        return False
    if values.ndim != 2 or indices.shape != values.shape:
        return False
    if values.shape[1] != sae.k and not (sae.activation == JUMPRELU and 1 <= values.shape[1] <= sae.n):
        return False
    checks = (
        keys >= 0,
        keys.diff() > 0,
        (tokens >= 1) & (tokens <= KEPT_TOKENS),
        (values >= 0) & (values < torch.inf),
        (indices >= 0) & (indices < sae.n),
    )
    return all(bool(check.all()) for check in checks) and int(tokens.sum()) == len(values)
