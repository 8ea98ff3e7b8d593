"""Reading the miniature's shipped weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import SaeuronError
from .architecture import TEXT_CONFIG

FOLDER = Path(__file__).parent / "weights"
PROMPTS_FOLDER = Path(__file__).parent / "prompts"  # fit/ and heldout/, a list for each concept
CLIP_FOLDER = Path(__file__).parent / "clip"  # the image side of a CLIP, as transformers saves it
EMBEDDING = "text_model.embeddings.token_embedding.weight"
PREVIEW = ("preview.factors", "preview.bias")  # in the autoencoder's file, but no weights of it


def load_weights(part: str) -> dict[str, Tensor]:
    """Tensors float32 of `part`: ``unet`` and ``autoencoder`` (ComfyUI's names), ``text`` (transformers' names)."""
    from safetensors.torch import load_file

    tensors = load_file(_file(part))
    if part == "text":
        tensors = expand_embedding(tensors)
    return {name: tensor.float() for name, tensor in tensors.items() if name not in PREVIEW}


def load_preview() -> tuple[Tensor, Tensor]:
    """The map from a latent to the colour (-1..1) of its 8x8 pixels: factors float32 [4, 3] and bias [3]."""
    from safetensors import safe_open

    with safe_open(_file("autoencoder"), framework="pt") as file:
        factors, bias = (file.get_tensor(name).float() for name in PREVIEW)
    return factors, bias


def _file(part: str) -> Path:
    path = FOLDER / f"{part}.safetensors"
    if not path.is_file():
        raise SaeuronError(f"The miniature's weights {path.name} are missing; reinstall the pack.")
    return path


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
