"""Pictures that the nodes make: the example workflows are run with the seeds saved in them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from saeuron.figures.plots import picture_grid
from saeuron.files import write_atomically
from tools.demo import MULTIPLIERS, SEED, Studio, held_out
from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY
from tools.thumbnails import shown

README_PICTURES = REPOSITORY / "docs" / "pictures"
HELP_PICTURES = REPOSITORY / "web" / "docs" / "pictures"

HERO = {"cats": 3, "towers": 2, "dogs": 0, "flowers": 0}
"""Object -> which of its held-out prompts."""

SHOWN = {
    "SaeuronFeatureHeatmap_output.jpg": ("feature_heatmap", ["Before", "After"]),
    "SaeuronFeatureReport_output.png": ("feature_heatmap", ["Bars"]),
    "SaeuronFeatureExamples_output.jpg": ("feature_set_by_hand", ["Examples of one feature"]),
    "SaeuronCompare_output.jpg": ("unlearn_several_concepts", ["Before / After"]),
    "SaeuronMultiplierSweep_grid.jpg": ("sweep_multiplier", ["Pictures"]),
    "SaeuronMultiplierSweep_plot.png": ("sweep_multiplier", ["Figures"]),
}
"""Picture of a help page -> the example and the titles of the nodes in it that show it."""

LARGEST_SIDE = 1000  # pixels


def save(picture: np.ndarray | Image.Image, path: Path, largest_side: int = LARGEST_SIDE) -> None:
    """Small enough to be shipped: JPEG for drawings, PNG with 128 colours for plots and screenshots."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture.convert("RGB")
    image.thumbnail((largest_side, largest_side))
    content = io.BytesIO()
    if path.suffix == ".png":
        image.quantize(128, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    else:
        image.save(content, "JPEG", quality=85, optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
    print(f"{path.relative_to(REPOSITORY)}  {len(content.getvalue()) // 1024} KB", flush=True)


def before_and_after(studio: Studio) -> np.ndarray:
    """One column a prompt; above the model as it is, below with one concept at a time turned down."""
    texts = [held_out(name, place + 1)[place] for name, place in HERO.items()]
    rows: dict[str, dict[str, float]] = {
        "off": {},
        **{f"{concept} turned down": {concept: size} for concept, size in MULTIPLIERS.items()},
    }
    pictures = [[studio.draw(text, SEED, 1, removed)[0] for text in texts] for removed in rows.values()]
    return picture_grid(list(rows), texts, pictures)


def draw_outputs(server: ComfyServer) -> None:
    hero = before_and_after(Studio(server))
    save(hero, README_PICTURES / "before_after.jpg")
    save(hero, HELP_PICTURES / "SaeuronUnlearn_output.jpg", 700)
    for name, (example, titles) in SHOWN.items():
        save(shown(server, example, titles), HELP_PICTURES / name)
