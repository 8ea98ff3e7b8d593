"""Pictures made from the drawings: one thing, two things, or nothing, on a pastel gradient.

A scene is fully determined by its random generator, so a pool is reproducible from (seed, count, kinds).
"""

from __future__ import annotations

import colorsys
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from .drawings import OBJECTS, STYLES, render_drawings

CANVAS = 192
GRID = 8  # pixels to a latent; objects lie on this grid, so that a drawing has the same latents wherever it lies
SIZES = {"small": 104, "medium": 128, "large": 152}  # pixels, of the only thing in a picture
HALF_SIZES = (80, 88, 96)  # pixels, of a thing on a half
HUES = {"pink": 0.92, "red": 0.0, "orange": 0.08, "yellow": 0.15, "green": 0.35, "blue": 0.58, "purple": 0.76}
ARRANGEMENTS = ("across", "stacked")  # side by side, one above the other
HALVES = {"across": ("left", "right"), "stacked": ("top", "bottom")}


@dataclass(frozen=True)
class Pool:
    seed: int
    count: int
    kinds: str
    """Of the scenes in turn: s, a single thing; p, a pair; e, nothing; h, a thing on one half, nothing on the other."""


MIXED = "psppsppsppsppspsppsppspe"  # of 24, 8 singles, 15 pairs, an empty one
TRAINING_POOL = Pool(1, 40_000, MIXED)
HELD_OUT_POOL = Pool(2, 2_000, MIXED)
HALF_POOL = Pool(3, 4_000, "h")  # for the judges only: what is left when one of two things is gone
HELD_OUT_HALF_POOL = Pool(4, 400, "h")


@dataclass(frozen=True)
class Thing:
    object: str
    size: str
    """A key of `SIZES`, or "half"."""

    side: int
    """In pixels."""

    column: int
    row: int
    """Of its upper left corner, in pixels."""

    @property
    def horizontal(self) -> str:
        return _third(self.column / (CANVAS - self.side), "left", "right")

    @property
    def vertical(self) -> str:
        return _third(self.row / (CANVAS - self.side), "top", "bottom")


@dataclass(frozen=True)
class Scene:
    """`things` from left to right or from top to bottom; `arrangement` is empty where there is one or none."""

    style: str
    hue: str
    things: tuple[Thing, ...] = ()
    arrangement: str = ""

    def on_half(self, half: str) -> str | None:
        """The object on that half, "nothing", or None where it can't be said."""
        if not self.things:
            return "nothing"
        if self.arrangement and half in HALVES[self.arrangement]:
            low, high = HALVES[self.arrangement]
            for thing in self.things:
                middle = (thing.column if self.arrangement == "across" else thing.row) + thing.side / 2
                if (low if middle < CANVAS / 2 else high) == half:
                    return thing.object
            return "nothing"
        return None


def _third(position: float, low: str, high: str) -> str:
    return low if position < 1 / 3 else high if position > 2 / 3 else ""


def arrange(rng: np.random.Generator, kind: str, object_name: str, style: str) -> Scene:
    """A scene of `kind` with the object in it, and others chosen by chance."""
    hue = list(HUES)[rng.integers(len(HUES))]
    if kind == "e":
        return Scene(style, hue)
    if kind == "s":
        size = list(SIZES)[rng.integers(len(SIZES))]
        places = (CANVAS - SIZES[size]) // GRID
        column, row = (int(x) * GRID for x in rng.integers(places + 1, size=2))
        return Scene(style, hue, (Thing(object_name, size, SIZES[size], column, row),))
    arrangement = ARRANGEMENTS[rng.integers(2)]
    others = [name for name in OBJECTS if name != object_name]
    names = [object_name, others[rng.integers(len(others))]]
    if rng.random() < 0.5:
        names.reverse()
    line = rng.random()  # both lie at about the same height, or in about the same column
    things = []
    for half, name in enumerate(names):
        side = int(HALF_SIZES[rng.integers(len(HALF_SIZES))])
        along = half * CANVAS // 2 + int(rng.integers((CANVAS // 2 - side) // GRID + 1)) * GRID
        free = (CANVAS - side) // GRID
        across = int(np.clip(round(line * free) + rng.integers(-1, 2), 0, free)) * GRID
        column, row = (along, across) if arrangement == "across" else (across, along)
        things.append(Thing(name, "half", side, column, row))
    if kind == "h":
        things = [thing for thing in things if thing.object == object_name]
    return Scene(style, hue, tuple(things), arrangement)


def paint(rng: np.random.Generator, scene: Scene, drawings: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    """The scene's picture, uint8 RGB [CANVAS, CANVAS, 3]."""
    from PIL import Image

    picture = Image.fromarray(_gradient(rng, HUES[scene.hue]))
    for thing in scene.things:
        drawing = Image.fromarray(drawings[thing.object, scene.style])
        sprite = drawing.resize((thing.side, thing.side), Image.Resampling.LANCZOS)
        picture.paste(sprite, (thing.column, thing.row), sprite)
    return np.asarray(picture)


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


@cache
def load_drawings(work: Path) -> dict[tuple[str, str], np.ndarray]:
    """(object, style) -> uint8 RGBA; rendered once and kept."""
    file = work / "drawings.npz"
    if not file.exists():
        work.mkdir(parents=True, exist_ok=True)
        rendered = render_drawings(work / "drawings")
        named: dict[str, Any] = {f"{name} {style}": drawing for (name, style), drawing in rendered.items()}
        np.savez_compressed(file, **named)
    with np.load(file) as kept:
        return {(key.split(" ")[0], key.split(" ")[1]): kept[key] for key in kept.files}


def in_processes(
    work: Callable[[Any], Any], parts: Iterable[Any], start: Callable[[], None] | None = None
) -> list[Any]:
    """`work` of each part, in order, in as many processes as there are cores; `start` begins each."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=start) as processes:
        return list(processes.map(work, parts))


def _paint_part(work: Path, pool: Pool, file: Path, indices: Iterable[int]) -> list[Scene]:
    drawings = load_drawings(work)
    pictures, scenes = np.load(file, mmap_mode="r+"), []
    cells = [(o, s) for o in OBJECTS for s in STYLES]
    seen = {kind: pool.kinds.count(kind) for kind in pool.kinds}
    for index in indices:
        rng = np.random.default_rng([pool.seed, index])
        rounds, place = divmod(index, len(pool.kinds))
        kind = pool.kinds[place]
        cell = rounds * seen[kind] + pool.kinds[:place].count(kind)  # each kind goes through all cells in turn
        scenes.append(arrange(rng, kind, *cells[cell % len(cells)]))
        pictures[index] = paint(rng, scenes[-1], drawings)
    return scenes


def make_pool(work: Path, pool: Pool) -> tuple[np.ndarray, list[Scene]]:
    """The pool's scenes, of each kind every (object, style) cell equally often; kept in `work` and reused.

    Returns a read-only uint8 memory map [count, CANVAS, CANVAS, 3] and the scenes.
    """
    stem = work / f"scenes-{pool.seed}-{pool.count}"
    pictures_file, scenes_file = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not scenes_file.exists():
        load_drawings(work)
        shape = (pool.count, CANVAS, CANVAS, 3)
        np.lib.format.open_memmap(pictures_file, mode="w+", dtype=np.uint8, shape=shape).flush()
        indices = [range(first, min(first + 250, pool.count)) for first in range(0, pool.count, 250)]
        parts = in_processes(partial(_paint_part, work, pool, pictures_file), indices)
        scenes_file.write_text(json.dumps([asdict(scene) for part in parts for scene in part]))
    rows = json.loads(scenes_file.read_text())
    scenes = [Scene(**{**row, "things": tuple(Thing(**thing) for thing in row["things"])}) for row in rows]
    return np.load(pictures_file, mmap_mode="r"), scenes
