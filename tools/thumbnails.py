"""Draw the pictures that the template browser shows beside each example workflow.

What shows the miniature was drawn by it; SDXL-Turbo's card has no picture, as no weights of it were at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.demo import MULTIPLIERS, Studio
from tools.host.server import ComfyServer
from tools.workflows.prompts import FOLDER, find_nodes, read_prompt

SIZE = (384, 192)
SEED = 7
GROUND = 40  # a dark grey, of 255
SHOWN = {
    "forget_a_concept": ["Before / After"],
    "forget_one_of_two": ["Before / After"],
    "replace_a_concept": ["Before / After"],
    "unlearn_several_concepts": ["Before / After"],
    "feature_heatmap": ["Before", "After"],
    "feature_set_by_hand": ["Before / After"],
    "sweep_multiplier": ["Pictures"],
}
"""Example -> the titles of the nodes whose pictures are its thumbnail."""


def side_by_side(left: np.ndarray, right: np.ndarray) -> Image.Image:
    return Image.fromarray(np.concatenate([left, right], axis=1)).resize(SIZE)


def card(title: str, subtitle: str) -> Image.Image:
    image = Image.new("RGB", SIZE, "#20242c")
    draw = ImageDraw.Draw(image)
    draw.text((SIZE[0] / 2, 80), title, fill="white", anchor="mm", font=ImageFont.load_default(34))
    draw.text((SIZE[0] / 2, 124), subtitle, fill="#9ab", anchor="mm", font=ImageFont.load_default(16))
    return image


def fitted(picture: np.ndarray) -> Image.Image:
    """All of `picture` on a dark card."""
    image, whole = Image.new("RGB", SIZE, "#20242c"), Image.fromarray(picture)
    whole.thumbnail(SIZE)
    image.paste(whole, ((SIZE[0] - whole.width) // 2, (SIZE[1] - whole.height) // 2))
    return image


def shown(server: ComfyServer, name: str, titles: Sequence[str]) -> np.ndarray:
    """What the example `name` shows at the nodes with these titles, side by side, all on one ground."""
    prompt = read_prompt(name)
    outputs = server.run(prompt)
    nodes = [id_ for title in titles for id_ in find_nodes(prompt, title=title)]
    pictures = [server.image(outputs[id_]["images"][0]) for id_ in nodes]
    height = max(len(picture) for picture in pictures)
    above = (((height - len(picture), 0), (0, 0), (0, 0)) for picture in pictures)
    return np.concatenate([np.pad(p, a, constant_values=GROUND) for p, a in zip(pictures, above, strict=True)], axis=1)


def save(image: Image.Image, path: Path) -> None:
    image.save(path, quality=88)
    print(path.name, flush=True)


def main() -> None:
    with ComfyServer() as server:
        studio = Studio(server)
        for name, text, concept in (
            ("unlearn_miniature", "a cat in twemoji style", "cats"),
            ("compute_feature_set", "a tower in twemoji style", "towers"),
        ):
            before, after = (
                studio.draw(text, SEED, 1, removed)[0] for removed in ({}, {concept: MULTIPLIERS[concept]})
            )
            save(side_by_side(before, after), FOLDER / f"{name}.jpg")
        for name, titles in SHOWN.items():
            save(fitted(shown(server, name, titles)), FOLDER / f"{name}.jpg")
    save(card("SDXL-Turbo", "unlearn a concept at cfg 1"), FOLDER / "unlearn_sdxl_turbo.jpg")


if __name__ == "__main__":
    main()
