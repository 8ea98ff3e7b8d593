"""The classifiers of UnlearnCanvas (arXiv 2402.11846), which published figures for SD 1.5 are measured with.

A checkpoint (``style50_cls.pth`` and its counterpart for objects) is a pickle of {"model_state_dict": ...} of timm's
ViT-L/16 with a head of its own. It records no labels: they are those of UnlearnCanvas's evaluation code, in its order,
chosen by the size of the head.

Not checked here, for want of the files: that the published checkpoints load, and that their heads are in that order.
Look at some pictures that you know before you trust the labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SaeuronError
from ..files import read_pickle
from ..optional import require

SUFFIXES = (".pth", ".pt")
ARCHITECTURE = "vit_large_patch16_224.augreg_in21k"
SIZE = 224

_OBJECTS = """
    Architectures Bears Birds Butterfly Cats Dogs Fishes Flame Flowers Frogs Horses Human Jellyfish Rabbits Sandwiches
    Sea Statues Towers Trees Waterfalls
"""
_STYLES = """
    Abstractionism Artist_Sketch Blossom_Season Bricks Byzantine Cartoon Cold_Warm Color_Fantasy Comic_Etch Crayon
    Cubism Dadaism Dapple Defoliation Early_Autumn Expressionism Fauvism French Glowing_Sunset Gorgeous_Love
    Greenfield Impressionism Ink_Art Joy Liquid_Dreams Magic_Cube Meta_Physics Meteor_Shower Monet Mosaic Neon_Lines
    On_Fire Pastel Pencil_Drawing Picasso Pop_Art Red_Blue_Ink Rust Seed_Images Sketch Sponge_Dabbed Structuralism
    Superstring Surrealism Ukiyoe Van_Gogh Vibrant_Flow Warm_Love Warm_Smear Watercolor Winter
"""
OBJECTS, STYLES = tuple(_OBJECTS.split()), tuple(_STYLES.split())
"""The styles are 50, and ``Seed_Images`` for photographs in none of them."""


def load_unlearncanvas(file: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """The classifier in `file`, on the CPU in float32, and its labels.

    Errors: `SaeuronError` if timm is not installed, the file is no such checkpoint, or its head has neither 20 nor 51
    outputs.
    """
    timm = require("timm", "timm", f"Reading the UnlearnCanvas classifier {file.name}")
    weights = read_pickle(file).get("model_state_dict")
    if not isinstance(weights, dict) or not isinstance(weights.get("head.weight"), Tensor):
        raise SaeuronError(f"{file.name} is no UnlearnCanvas classifier: no head.weight in a model_state_dict.")
    head = weights["head.weight"]
    labels = {len(labels): labels for labels in (OBJECTS, STYLES)}.get(len(head))
    if labels is None:
        raise SaeuronError(
            f"{file.name} tells {len(head)} classes apart. Known are UnlearnCanvas's {len(OBJECTS)} objects and its "
            f"{len(STYLES)} styles; put other classifiers into a transformers folder, which records its labels."
        )
    with torch.device("meta"):  # the weights come from the file
        network: nn.Module = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=len(labels))
    try:
        # Cloned: what was read is mapped to the file, which may be replaced while the classifier is in use.
        network.load_state_dict({name: tensor.clone() for name, tensor in weights.items()}, assign=True)
    except (AttributeError, RuntimeError) as error:
        raise SaeuronError(f"{file.name} does not fit timm's {ARCHITECTURE}: {str(error)[:300]}") from error
    return network.float(), labels


def prepare(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, 224, 224]: the whole picture resized, mean and deviation 0.5."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()  # BHWC -> BCHW
    images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True)
    return images.round().clamp(0, 255).div(127.5).sub(1)
