"""Pictures that the nodes make: the example workflows are run with the seeds saved in them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from saeuron.figures.plots import picture_grid
from saeuron.files import write_atomically
from tools.demo import EXCHANGES, MULTIPLIERS, SEED, Edit, Studio, held_out
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
    "SaeuronForget_look_first.jpg": ("forget_one_of_two", ["Before / After"]),
    "SaeuronReplace_output.jpg": ("replace_a_concept", ["Before / After"]),
    "SaeuronReplacementMask_output.jpg": ("replace_a_concept", ["Before / After", "Mask"]),
    "SaeuronCompare_output.jpg": ("unlearn_several_concepts", ["Before / After"]),
    "SaeuronMultiplierSweep_grid.jpg": ("sweep_multiplier", ["Pictures"]),
    "SaeuronMultiplierSweep_plot.png": ("sweep_multiplier", ["Figures"]),
}
"""Picture of a help page -> the example and the titles of the nodes in it that show it."""

BROWSED = "miniature/up_blocks.1.attentions.0"
"""The feature sets on the help page of Browse Feature Sets."""

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


def hero(studio: Studio, rows: dict[str, Edit]) -> np.ndarray:
    """One column a prompt; what each row of `rows` makes of it."""
    texts = [held_out(name, place + 1)[place] for name, place in HERO.items()]
    pictures = [[studio.draw(text, SEED, 1, edit)[0] for text in texts] for edit in rows.values()]
    return picture_grid(list(rows), texts, pictures)


def turned_down(studio: Studio) -> np.ndarray:
    """The model as it is, and with one concept at a time turned down."""
    return hero(studio, {"off": {}, **{f"{name} turned down": {name: size} for name, size in MULTIPLIERS.items()}})


def forgotten(studio: Studio) -> np.ndarray:
    """The model as it is, and without cats and towers: turned down, and with something else in their place."""
    lines = [exchange.line for exchange in EXCHANGES.values()]
    names = " and ".join(MULTIPLIERS)
    return hero(
        studio,
        {"off": {}, f"Unlearn {names}": MULTIPLIERS, f"Forget {', '.join(lines)}": "\n".join(lines)},
    )


def draw_outputs(server: ComfyServer) -> None:
    studio = Studio(server)
    for grid, picture, node in (
        (turned_down(studio), "before_after.jpg", "SaeuronUnlearn_output.jpg"),
        (forgotten(studio), "forget.jpg", "SaeuronForget_output.jpg"),
    ):
        save(grid, README_PICTURES / picture)
        save(grid, HELP_PICTURES / node, 700)
    for name, (example, titles) in SHOWN.items():
        save(shown(server, example, titles), HELP_PICTURES / name)
    save(browsed(server), HELP_PICTURES / "SaeuronBrowseFeatureSets_output.jpg")


def browsed(server: ComfyServer) -> np.ndarray:
    """What Browse Feature Sets shows of `BROWSED`."""
    inputs = {"filter": BROWSED, "base_model": "any"}
    outputs = server.run({"1": {"class_type": "SaeuronBrowseFeatureSets", "inputs": inputs}})
    return server.image(outputs["1"]["images"][0])
