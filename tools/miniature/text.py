"""Captions as tokens of the host's CLIP vocabulary, made compact for training.

Captions use only some hundred of CLIP's 49,408 tokens. Training sees those, and one row that stands for every other
token; random insertions of it teach the text encoder to pass over words it does not know.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .captions import caption, caption_words
from .scenes import Pool, Scene, in_processes, make_pool
from .training import import_host

LENGTH = 77
START, END = 49406, 49407
UNKNOWN = 0  # compact index of every token that captions do not use
WORDINGS = 8  # of each scene


@cache
def _tokenizer() -> Any:
    import comfy
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(Path(next(iter(comfy.__path__))) / "sd1_tokenizer"))


@cache
def vocabulary() -> tuple[int, ...]:
    """CLIP token ids that captions use, ascending; compact index i + 1 stands for the i-th."""
    ids = {START, END}
    for word in caption_words():
        ids.update(_tokenizer()(word)["input_ids"])
    return tuple(sorted(ids))


@cache
def _compact() -> dict[int, int]:
    return {token: index + 1 for index, token in enumerate(vocabulary())}


def compact_tokens(texts: list[str], rng: np.random.Generator | None = None) -> np.ndarray:
    """Texts -> compact indices int16 [len(texts), 77], padded with the end token as the host does.

    With `rng`, a quarter of the texts get one to three unknown tokens somewhere.
    """
    known = _compact()
    rows = np.full((len(texts), LENGTH), known[END], dtype=np.int16)
    for row, tokens in zip(rows, _tokenizer()(list(texts))["input_ids"], strict=True):
        ids = [known.get(token, UNKNOWN) for token in tokens[1:-1]]
        if rng is not None and ids and rng.random() < 0.25:
            for _ in range(rng.integers(1, 4)):
                ids.insert(rng.integers(len(ids) + 1), UNKNOWN)
        ids = ids[: LENGTH - 2]
        row[: len(ids) + 1] = [known[START], *ids]
    return rows


def tokenize(texts: list[str], rng: np.random.Generator | None = None) -> torch.Tensor:
    """As `compact_tokens`, int64."""
    return torch.from_numpy(compact_tokens(texts, rng).astype(np.int64))


def _write_part(seed: int, part: tuple[int, list[Scene]]) -> np.ndarray:
    first, scenes = part
    rows = []
    for index, scene in enumerate(scenes, first):
        rng = np.random.default_rng([seed, 77, index])
        rows.append(compact_tokens([caption(rng, scene) for _ in range(WORDINGS)], rng))
    return np.stack(rows)


def caption_pool(work: Path, pool: Pool) -> torch.Tensor:
    """Captions of each of the pool's scenes as compact indices int16 [count, WORDINGS, 77], written once and kept."""
    file = work / f"captions-{pool.seed}-{pool.count}.npy"
    if not file.exists():
        _, scenes = make_pool(work, pool)
        parts = [(first, scenes[first : first + 250]) for first in range(0, pool.count, 250)]
        np.save(file, np.concatenate(in_processes(partial(_write_part, pool.seed), parts, import_host)))
    return torch.from_numpy(np.load(file))
