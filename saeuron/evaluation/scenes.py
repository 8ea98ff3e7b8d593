"""What removing one of two things in a picture does to it: the target, its neighbour, and what stands there instead.

A *scene* is a picture of two things, each on its own half; one of them is the *target*, the other its *neighbour*. Only
scenes count in which the model as it is drew both, each on its own half: there it is known where the target was. A
judge of halves names what is on each half, `NOTHING` among its labels. All measures are one value a picture, for
`metrics.bootstrap`, and picture i of everything is of the same prompt and seed.

| measure | here |
|---|---|
| UA-scene, the target is gone | `gone` |
| KEEP, the neighbour is right, on its half | `kept` |
| OUT, change outside the target's half | `squared_error_outside`, and `similarity_outside` by CLIP |
| DUAL, likeness to the same seed's picture without the target in the prompt | `similarity` |
| SWAP, what stands where the target was | `stands_there` |
| WHERE, share of the mask on the target's half | `share_on_half` |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SaeuronError
from .halves import NOTHING
from .metrics import cosine_similarity

OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
ARRANGEMENTS = (("left", "right"), ("top", "bottom"))

REPLACEMENT, TARGET, SOMETHING_ELSE = "replacement", "target", "something else"
SWAPS = (REPLACEMENT, NOTHING, TARGET, SOMETHING_ELSE)

Pixels = NDArray[np.uint8]
Embed = Callable[[Pixels], ArrayLike]
"""Pictures uint8 [N, H, W, 3] -> image embeddings [N, d], as CLIP's."""

Seen = Mapping[str, str]
"""Half -> what the judge sees on it."""


class Scene(NamedTuple):
    """Where the model as it is drew the two things."""

    target: str
    neighbour: str
    half: str
    """The target's; the neighbour is on the opposite one."""


def find_scene(seen: Seen, target: str, neighbour: str) -> Scene | None:
    """Where both are on an un-ablated picture, each alone on its half; None if they are not, or if that is ambiguous.

    `seen` has all four halves. Side by side and one above the other at once is two things in opposite corners.
    """
    found = [
        Scene(target, neighbour, half)
        for pair in ARRANGEMENTS
        for half in pair
        if seen[half] == target and seen[OPPOSITE[half]] == neighbour
    ]
    return found[0] if len(found) == 1 else None


def gone(seen: Sequence[Seen], scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """UA-scene: whether the target is on neither of the scene's two halves: it may come back on the other one."""
    pairs = _paired(seen, scenes)
    return np.array([scene.target not in (found[scene.half], found[OPPOSITE[scene.half]]) for found, scene in pairs])


def kept(seen: Sequence[Seen], scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """KEEP: whether the neighbour is still seen on its half."""
    return np.array([found[OPPOSITE[scene.half]] == scene.neighbour for found, scene in _paired(seen, scenes)])


def stands_there(seen: Sequence[Seen], scenes: Sequence[Scene], replacements: Sequence[str | None]) -> NDArray[np.str_]:
    """SWAP: which of `SWAPS` is where the target was; `replacements` says what was to be there, None for nothing.

    Where the replacement is the neighbour's kind, a second one of it is the replacement.
    """
    if len(replacements) != len(scenes):
        raise SaeuronError(f"There are {len(scenes)} scenes and {len(replacements)} replacements. Give one a scene.")
    found = []
    for (halves, scene), replacement in zip(_paired(seen, scenes), replacements, strict=True):
        names = {scene.target: TARGET, NOTHING: NOTHING, **({replacement: REPLACEMENT} if replacement else {})}
        found.append(names.get(halves[scene.half], SOMETHING_ELSE))
    return np.array(found, dtype=np.str_)


def squared_error_outside(edited: Pixels, plain: Pixels, scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """OUT: mean squared difference of the pixels outside the target's half, which count 0 to 1: float64 [N].

    `edited` and `plain`, the same seeds unedited, are uint8 [N, H, W, 3].
    """
    if edited.shape != plain.shape or len(edited) != len(scenes):
        raise SaeuronError(
            f"Expected as many edited and un-ablated pictures as scenes, of one size; found {list(edited.shape)}, "
            f"{list(plain.shape)} and {len(scenes)} scenes."
        )
    errors = []
    for after, before, scene in zip(edited, plain, scenes, strict=True):
        rest = slices(OPPOSITE[scene.half], *after.shape[:2])
        errors.append(np.square((after[rest].astype(np.float64) - before[rest]) / 255).mean())
    return np.array(errors)


def blank_half(pictures: Pixels, scenes: Sequence[Scene]) -> Pixels:
    """Copies with the target's half in the mean colour of the other: what CLIP is to compare outside of it."""
    blank = pictures.copy()
    for picture, scene in zip(blank, scenes, strict=True):
        rest = picture[slices(OPPOSITE[scene.half], *picture.shape[:2])]
        picture[slices(scene.half, *picture.shape[:2])] = rest.mean((0, 1)).round().astype(np.uint8)
    return blank


def similarity_outside(edited: Pixels, plain: Pixels, scenes: Sequence[Scene], embed: Embed) -> NDArray[np.float64]:
    """OUT by CLIP: cosine between the embeddings of both with the target's half blank, float64 [N]; 1: no change."""
    return similarity(blank_half(edited, scenes), blank_half(plain, scenes), embed)


def similarity(edited: Pixels, alone: Pixels, embed: Embed) -> NDArray[np.float64]:
    """DUAL: cosine between the embeddings of the edited pictures and of `alone`, float64 [N].

    `alone` are un-ablated pictures of the same seeds whose prompts leave the target out.
    """
    return cosine_similarity(embed(edited), embed(alone))


def share_on_half(masks: ArrayLike, scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """WHERE: share of each mask's weight on the target's half, float64 [N]; nan for a mask without any.

    `masks` are weights of 0 and above, [N, h, w], of maps of any size; where h or w is odd, the middle line belongs to
    both halves by half.
    """
    maps = np.asarray(masks, dtype=np.float64)
    if maps.ndim != 3 or len(maps) != len(scenes) or not (np.isfinite(maps).all() and (maps >= 0).all()):
        raise SaeuronError(f"Expected one mask of weights [h, w] for each of {len(scenes)} scenes, found {maps.shape}.")
    doubled = maps.repeat(2, axis=1).repeat(2, axis=2)
    on = np.array([m[slices(s.half, *m.shape)].sum() for m, s in zip(doubled, scenes, strict=True)])
    everything = doubled.sum((1, 2))
    shares: NDArray[np.float64] = np.divide(on, everything, out=np.full(len(maps), np.nan), where=everything > 0)
    return shares


def slices(half: str, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a half; of an odd number of lines the middle one is left out of both."""
    whole = slice(None)
    return {
        "left": (whole, slice(0, width // 2)),
        "right": (whole, slice(width - width // 2, width)),
        "top": (slice(0, height // 2), whole),
        "bottom": (slice(height - height // 2, height), whole),
    }[half]


def _paired(seen: Sequence[Seen], scenes: Sequence[Scene]) -> list[tuple[Seen, Scene]]:
    if len(seen) != len(scenes) or not scenes:
        raise SaeuronError(f"Expected what is seen on each of the scenes, found {len(seen)} for {len(scenes)} scenes.")
    return list(zip(seen, scenes, strict=True))


def count(swaps: ArrayLike) -> dict[str, Any]:
    """Share of each of `SWAPS`, in that order, 0 to 1."""
    found = np.asarray(swaps)
    if not len(found):
        raise SaeuronError("There are no scenes to count.")
    return {swap: float((found == swap).mean()) for swap in SWAPS}
