"""Reading the miniature's shipped weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import SaeuronError
from .architecture import TEXT_CONFIG

FOLDER = Path(__file__).parent / "weights"
EMBEDDING = "text_model.embeddings.token_embedding.weight"


def load_weights(part: str) -> dict[str, Tensor]:
    """Tensors float32 of `part`: ``unet`` and ``autoencoder`` (ComfyUI's names), ``text`` (transformers' names)."""
    from safetensors.torch import load_file

    path = FOLDER / f"{part}.safetensors"
    if not path.is_file():
        raise SaeuronError(f"The miniature's weights {path.name} are missing; reinstall the pack.")
    tensors = load_file(path)
    if part == "text":
        tensors = expand_embedding(tensors)
    return {name: tensor.float() for name, tensor in tensors.items()}


def expand_embedding(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The whole CLIP vocabulary from the rows that captions use; row 0 stands for every other token.

    The file has ``token_ids`` int64 [m] and an embedding [m + 1, width], so that it does not carry 49,408 rows of which
    all but some hundred would be the same.
    """
    tensors = dict(tensors)
    ids, rows = tensors.pop("token_ids"), tensors[EMBEDDING]
    embedding = rows[0].repeat(TEXT_CONFIG["vocab_size"], 1)
    embedding[ids] = rows[1:]
    return {**tensors, EMBEDDING: embedding.to(torch.float32)}
