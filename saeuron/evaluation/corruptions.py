"""Pictures spoilt on purpose, the way an edit that goes too far spoils them: meaningless texture in one place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Region = NDArray[np.float64]  # pixels [h, w, 3], 0..255


def corrupt(pictures: Pixels, kind: str, seed: int) -> Pixels:
    """A copy of each picture, uint8 [B, H, W, 3], with one square region of it spoilt; H and W of at least 16.

    `kind` is one of `CORRUPTIONS`. The square has 30 to 70 % of the picture's shorter side. Copy i depends on picture
    i, `kind`, `seed` and i only.
    """
    spoil, result = CORRUPTIONS[kind], pictures.copy()
    number = list(CORRUPTIONS).index(kind)
    for index, picture in enumerate(result):
        rng = np.random.default_rng([seed, number, index])
        height, width = picture.shape[:2]
        side = int(min(height, width) * rng.uniform(0.3, 0.7))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        region = picture[top : top + side, left : left + side]  # a view: writing to it writes the picture
        region[:] = spoil(rng, region.astype(np.float64)).clip(0, 255).round()
    return result


def _shuffle_patches(rng: np.random.Generator, region: Region) -> Region:
    patch = max(2, len(region) // int(rng.integers(4, 9)))
    n = len(region) // patch
    edge = n * patch
    tiles = region[:edge, :edge].reshape(n, patch, n, patch, 3).swapaxes(1, 2).reshape(n * n, patch, patch, 3)
    tiles = rng.permutation(tiles).reshape(n, n, patch, patch, 3).swapaxes(1, 2)
    result = region.copy()
    result[:edge, :edge] = tiles.reshape(edge, edge, 3)
    return result


def _blur(rng: np.random.Generator, region: Region) -> Region:
    from scipy.ndimage import gaussian_filter

    sigma = len(region) * rng.uniform(0.06, 0.15)
    return np.asarray(gaussian_filter(region, (sigma, sigma, 0), mode="nearest"))


def _noise_texture(rng: np.random.Generator, region: Region) -> Region:
    """Noise of one random grain, as strong as the region's own contrast or more, over its mean colour."""
    from scipy.ndimage import gaussian_filter

    grain = rng.uniform(0.5, 3.0)
    noise = gaussian_filter(rng.standard_normal(region.shape), (grain, grain, 0), mode="wrap")
    noise *= rng.uniform(30, 80) / noise.std()
    return np.asarray(region.mean(axis=(0, 1)) + noise)


def _colour_blobs(rng: np.random.Generator, region: Region) -> Region:
    result, size = region, len(region)
    rows, columns = np.mgrid[:size, :size]
    for _ in range(int(rng.integers(3, 8))):
        y, x = rng.uniform(0, size, 2)
        radius = size * rng.uniform(0.08, 0.25)
        weight = np.exp(-((((rows - y) ** 2 + (columns - x) ** 2) / radius**2) ** 2))[
            ..., None
        ]  # a disc with soft edges
        result = result * (1 - weight) + rng.uniform(0, 255, 3) * weight
    return result


def _warp(rng: np.random.Generator, region: Region) -> Region:
    """Every place takes the colour of one some way off, as a smooth random field says: lines run and break."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = len(region)
    strength, grain = size * rng.uniform(0.06, 0.14), size * rng.uniform(0.06, 0.12)
    shifts = [gaussian_filter(rng.standard_normal((size, size)), grain, mode="wrap") for _ in range(2)]
    places = [at + shift * strength / shift.std() for at, shift in zip(np.mgrid[:size, :size], shifts, strict=True)]
    channels = [map_coordinates(region[..., c], places, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, axis=-1)


def _ghost(rng: np.random.Generator, region: Region) -> Region:
    """The region seen through its own mirror image, upside down or not: shapes that lie in each other."""
    other = region[:, ::-1] if rng.random() < 0.5 else region[::-1]
    share = rng.uniform(0.35, 0.65)
    return region * (1 - share) + other * share


CORRUPTIONS: dict[str, Callable[[np.random.Generator, Region], Region]] = {
    "shuffled patches": _shuffle_patches,
    "blur": _blur,
    "noise texture": _noise_texture,
    "colour blobs": _colour_blobs,
    "warp": _warp,
    "ghost": _ghost,
}
