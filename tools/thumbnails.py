"""Draw the pictures that the template browser shows beside each example workflow.

What shows the miniature was drawn by it; SDXL-Turbo's card has no picture, as no weights of it were at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.build_workflows import FOLDER
from tools.demo import MULTIPLIERS, Studio
from tools.server import ComfyServer

SIZE = (384, 192)
SEED = 7


def side_by_side(left: np.ndarray, right: np.ndarray) -> Image.Image:
    return Image.fromarray(np.concatenate([left, right], axis=1)).resize(SIZE)


def card(title: str, subtitle: str) -> Image.Image:
    image = Image.new("RGB", SIZE, "#20242c")
    draw = ImageDraw.Draw(image)
    draw.text((SIZE[0] / 2, 80), title, fill="white", anchor="mm", font=ImageFont.load_default(34))
    draw.text((SIZE[0] / 2, 124), subtitle, fill="#9ab", anchor="mm", font=ImageFont.load_default(16))
    return image


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
    save(card("SDXL-Turbo", "unlearn a concept at cfg 1"), FOLDER / "unlearn_sdxl_turbo.jpg")


if __name__ == "__main__":
    main()
