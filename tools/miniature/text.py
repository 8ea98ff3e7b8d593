"""Captions as tokens of the host's CLIP vocabulary, made compact for training.

Captions use only some hundred of CLIP's 49,408 tokens. Training sees those, and one row that stands for every other
token; random insertions of it teach the text encoder to pass over words it does not know.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import scenes
from .drawings import OBJECTS

LENGTH = 77
START, END = 49406, 49407
UNKNOWN = 0  # compact index of every token that captions do not use


@cache
def _tokenizer() -> Any:
    import comfy
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(Path(next(iter(comfy.__path__))) / "sd1_tokenizer"))


@cache
def vocabulary() -> tuple[int, ...]:
    """CLIP token ids that captions use, ascending; compact index i + 1 stands for the i-th."""
    words = [name for _, names in OBJECTS.values() for name in names]
    words += [phrase for phrases in scenes.STYLE_PHRASES.values() for phrase in phrases]
    words += [*scenes.OPENINGS, *scenes.ADJECTIVES, *scenes.CONTEXTS, *scenes.HUES]
    words += ["a", "an", "the", "my", "one", "in", "on", "at", ",", "."]
    words += ["small", "tiny", "medium-sized", "large", "big", "background"]
    words += ["center", "middle", "left", "right", "top", "bottom", "corner"]
    ids = {START, END}
    for word in words:
        ids.update(_tokenizer()(word)["input_ids"])
    return tuple(sorted(ids))


def tokenize(texts: list[str], rng: np.random.Generator | None = None) -> torch.Tensor:
    """Texts -> compact indices int64 [len(texts), 77], padded with the end token as the host does.

    With `rng`, a quarter of the texts get one to three unknown tokens somewhere.
    """
    known = {token: index + 1 for index, token in enumerate(vocabulary())}
    rows = np.full((len(texts), LENGTH), known[END], dtype=np.int64)
    for row, text in zip(rows, texts, strict=True):
        ids = [known.get(token, UNKNOWN) for token in _tokenizer()(text)["input_ids"][1:-1]]
        if rng is not None and ids and rng.random() < 0.25:
            for _ in range(rng.integers(1, 4)):
                ids.insert(rng.integers(len(ids) + 1), UNKNOWN)
        ids = ids[: LENGTH - 2]
        row[: len(ids) + 1] = [known[START], *ids]
    return torch.from_numpy(rows)
