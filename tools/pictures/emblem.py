"""The pack's icon and banner: a grid of SAE features, some of them active, one column turned down to nothing."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.pictures.outputs import README_PICTURES, save

ICON, BANNER = README_PICTURES / "icon.png", README_PICTURES / "banner.png"
ICON_SIZE, BANNER_SIZE = (400, 400), (1260, 540)  # square, 21:9

GROUND, IDLE, OFF = "#20242c", "#333a46", "#14171c"
CIVIDIS = ("#35456c", "#666970", "#a59c74", "#d9c55c", "#fee838")
"""Dark to bright as in matplotlib's map of that name, which looks alike to people with any colour vision."""
FINER = 4  # drawn so much larger first, for smooth edges


def features(image: Image.Image, box: tuple[float, float, float, float], cells: tuple[int, int], off: int) -> None:
    """A grid of `cells` (columns, rows) in `box` (left, top, right, bottom); the column `off` is turned down."""
    draw, generator = ImageDraw.Draw(image), np.random.default_rng(3)
    left, top, right, bottom = box
    side = min((right - left) / cells[0], (bottom - top) / cells[1])
    for column in range(cells[0]):
        for row in range(cells[1]):
            active = generator.random() < 0.55
            shade = CIVIDIS[generator.integers(len(CIVIDIS))] if active else IDLE
            size = side * (0.3 if column == off else 0.78)
            x, y = left + (column + 0.5) * side, top + (row + 0.5) * side
            corners = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
            draw.rounded_rectangle(corners, size * 0.22, fill=OFF if column == off else shade)


def icon() -> Image.Image:
    image = Image.new("RGB", (ICON_SIZE[0] * FINER, ICON_SIZE[1] * FINER), GROUND)
    margin = 28 * FINER
    features(image, (margin, margin, image.width - margin, image.height - margin), (5, 5), off=3)
    return image.resize(ICON_SIZE, Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    image = Image.new("RGB", (BANNER_SIZE[0] * FINER, BANNER_SIZE[1] * FINER), GROUND)
    margin = 60 * FINER
    features(image, (image.width * 0.5, margin, image.width - margin, image.height - margin), (8, 6), off=5)
    draw = ImageDraw.Draw(image)
    draw.text((margin, image.height * 0.44), "SAeUron", "white", ImageFont.load_default(104 * FINER), anchor="lm")
    words = ImageFont.load_default(34 * FINER)
    draw.text((margin, image.height * 0.62), "concept unlearning, with a slider", "#a9b4c4", words, anchor="lm")
    return image.resize(BANNER_SIZE, Image.Resampling.LANCZOS)


def draw_emblems() -> None:
    for image, path in ((icon(), ICON), (banner(), BANNER)):
        save(image, path, max(image.size))
