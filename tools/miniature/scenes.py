"""Pictures and captions made from the drawings: one object on a pastel gradient.

A scene is fully determined by its random generator, so a pool is reproducible from (seed, count).
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .drawings import OBJECTS, STYLES, render_drawings

CANVAS = 192
TRAINING_POOL = (1, 10000)  # seed and count of scenes
HELD_OUT_POOL = (2, 1000)
GRID = 8  # pixels to a latent; objects lie on this grid, so that a drawing has the same latents wherever it lies
SIZES = {"small": 104, "medium": 128, "large": 152}  # pixels
HUES = {"pink": 0.92, "red": 0.0, "orange": 0.08, "yellow": 0.15, "green": 0.35, "blue": 0.58, "purple": 0.76}
STYLE_PHRASES = {
    "twemoji": ("in twemoji style", "twemoji emoji", "in the style of twemoji", "twemoji style"),
    "fluent": ("in fluent style", "fluent emoji", "in the style of fluent", "fluent style"),
    "gray": ("in gray style", "gray emoji", "in the gray style", "gray style"),
    "contrast": ("in contrast style", "high contrast emoji", "in the contrast style", "in high contrast style"),
    "crayon": ("in crayon style", "crayon emoji", "in the crayon style", "crayon style"),
}
OPENINGS = (
    "",
    "",
    "",
    "",
    "a picture of ",
    "a drawing of ",
    "an emoji of ",
    "an image of ",
    "a photo of ",
    "an icon of ",
    "an illustration of ",
)
ADJECTIVES = (
    "cute",
    "beautiful",
    "nice",
    "lovely",
    "simple",
    "happy",
    "old",
    "young",
    "little",
    "pretty",
    "colorful",
    "bright",
    "single",
    "friendly",
)
CONTEXTS = (
    "on a plain background",
    "for a sticker",
    "for my website",
    "with soft colors",
    "on its own",
    "seen up close",
    "for a children's book",
    "on a postcard",
)


@dataclass(frozen=True)
class Scene:
    object: str
    style: str
    size: str
    hue: str
    horizontal: str
    vertical: str


def place(rng: np.random.Generator, object_name: str, style: str, drawing: np.ndarray) -> tuple[np.ndarray, Scene]:
    """Compose one picture, uint8 RGB [CANVAS, CANVAS, 3], and say what is in it."""
    from PIL import Image

    hue = list(HUES)[rng.integers(len(HUES))]
    size = list(SIZES)[rng.integers(len(SIZES))]
    side = SIZES[size]
    places = (CANVAS - side) // GRID
    column, row = (int(x) for x in rng.integers(places + 1, size=2))
    picture = Image.fromarray(_gradient(rng, HUES[hue]))
    sprite = Image.fromarray(drawing).resize((side, side), Image.Resampling.LANCZOS)
    picture.paste(sprite, (column * GRID, row * GRID), sprite)
    horizontal, vertical = _third(column / places, "left", "right"), _third(row / places, "top", "bottom")
    return np.asarray(picture), Scene(object_name, style, size, hue, horizontal, vertical)


def _third(position: float, low: str, high: str) -> str:
    return low if position < 1 / 3 else high if position > 2 / 3 else ""


def _gradient(rng: np.random.Generator, hue: float) -> np.ndarray:
    ends = []
    for _ in range(2):
        shade = colorsys.hsv_to_rgb(
            (hue + rng.uniform(-0.03, 0.03)) % 1.0, rng.uniform(0.12, 0.4), rng.uniform(0.85, 1.0)
        )
        ends.append(np.array(shade) * 255)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS] / (CANVAS - 1) - 0.5
    ramp = np.clip((columns * np.cos(angle) + rows * np.sin(angle)) / np.sqrt(2) + 0.5, 0, 1)[..., None]
    return (ends[0] * (1 - ramp) + ends[1] * ramp).round().astype(np.uint8)


def caption(rng: np.random.Generator, scene: Scene) -> str:
    """One of the many ways a person might describe `scene`; any part but the object may be left out."""
    _, names = OBJECTS[scene.object]
    name = names[0] if rng.random() < 0.5 else names[rng.integers(len(names))]
    words = []
    if rng.random() < 0.3:
        words.append(
            {"small": ("small", "tiny"), "medium": ("medium-sized",), "large": ("large", "big")}[scene.size][
                0 if rng.random() < 0.6 else -1
            ]
        )
    if rng.random() < 0.25:
        words.append(ADJECTIVES[rng.integers(len(ADJECTIVES))])
    words.append(name)
    phrase = " ".join(words)
    article = rng.choice(["a", "the", "my", "one", ""], p=[0.72, 0.1, 0.06, 0.04, 0.08])
    if article == "a" and phrase[0] in "aeiou":
        article = "an"
    text = f"{OPENINGS[rng.integers(len(OPENINGS))]}{article} {phrase}".strip()
    extras = []
    if rng.random() < 0.3:
        extras.append(_position(rng, scene))
    if rng.random() < 0.2:
        extras.append(f"on a {scene.hue} background")
    elif rng.random() < 0.15:
        extras.append(CONTEXTS[rng.integers(len(CONTEXTS))])
    if rng.random() < 0.65:
        phrase = STYLE_PHRASES[scene.style][0 if rng.random() < 0.5 else rng.integers(4)]
        if phrase.startswith("in "):
            extras.insert(rng.integers(len(extras) + 1), phrase)
        else:
            extras.append(f", {phrase}")
    text = " ".join(" ".join([text, *extras]).split()).replace(" ,", ",")
    draw = rng.random()
    return text.capitalize() if draw < 0.1 else text + "." if draw < 0.2 else text


def _position(rng: np.random.Generator, scene: Scene) -> str:
    if not scene.horizontal and not scene.vertical:
        return ("in the center", "in the middle")[rng.integers(2)]
    if scene.horizontal and scene.vertical:
        return f"in the {scene.vertical} {scene.horizontal} corner"
    if scene.horizontal:
        return f"on the {scene.horizontal}"
    return f"at the {scene.vertical}"


def make_pool(work: Path, seed: int, count: int) -> tuple[np.ndarray, list[Scene]]:
    """`count` scenes, every (object, style) cell equally often; drawings and pictures are kept in `work` and reused.

    Returns a read-only uint8 memory map [count, CANVAS, CANVAS, 3] and the scenes.
    """
    import dataclasses
    import json

    stem = work / f"scenes-{seed}-{count}"
    pictures_file, scenes_file = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not scenes_file.exists():
        work.mkdir(parents=True, exist_ok=True)
        drawings = render_drawings(work / "drawings")
        cells = [(o, s) for o in OBJECTS for s in STYLES]
        pictures = np.lib.format.open_memmap(pictures_file, mode="w+", dtype=np.uint8, shape=(count, CANVAS, CANVAS, 3))
        scenes = []
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            object_name, style = cells[index % len(cells)]
            pictures[index], scene = place(rng, object_name, style, drawings[object_name, style])
            scenes.append(scene)
        pictures.flush()
        scenes_file.write_text(json.dumps([dataclasses.astuple(s) for s in scenes]))
    scenes = [Scene(*row) for row in json.loads(scenes_file.read_text())]
    return np.load(pictures_file, mmap_mode="r"), scenes
