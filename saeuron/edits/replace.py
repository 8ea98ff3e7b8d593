"""Replacing a concept: the SAE says where it is, the model's own answer to another text stands there instead.

In every cross-attention layer, for the tokens where the SAE finds the concept,

    attn(x, T)  <-  attn(x, T) + strength * w * (attn(x, A) - attn(x, C))

T is the text that the person gave, C the concept ("a cat"), A what is to stand there ("a dog"), w in [0, 1] the token's
weight. The difference keeps what else T asks for. What is added needs no multiplier and no threshold on its size.

Everything here is a pure function of its arguments. Whoever runs the model detects at the first call of a run, keeps
the weights for its later calls (the concept is no longer drawn then, so it no longer fires), and forgets them after it.

The first call tells what will be drawn better than where. So a replacement may look first: the picture is drawn to its
end without it, the last call says where the concept came to stand (`see`), and the picture is drawn once more.
Then all but that place and a narrow margin (`may_change`) is held at the picture that was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..features.detector import gate_open, marked_share, marked_tokens
from ..features.feature_set import FeatureSet
from ..regions import check_region
from ..sae.model import SparseCodes
from ..schedule import is_finite_number
from .call import POSITIVE
from .cross_attention import KeysValues, attention_difference
from .masks import above_mean, above_otsu, feather, grow, grow_small, resize, smooth
from .when import When

PLACES = ("sae", "answer", "both")
"""Where to act: on the tokens that the SAE marks; where the layers answer to C; where both say so."""

CUTS = {"mean": above_mean, "otsu": above_otsu}
"""How much of an answer is enough: more than the picture's mean, or Otsu's threshold."""

ON_POSITIVE = When(halves=POSITIVE)

STRONGEST = 2.0

PICTURE_FACTOR = 2.0
"""How much more strongly in runs that begin from a picture: what is to go is half drawn already (docs/method.md has
what was measured)."""

STYLE_STRENGTH = 1.5
"""What replaces a style: the other words of a prompt take it over in the text encoder, so at 1 it shines through
(docs/method.md has what was measured)."""

MARGIN = 1
"""Tokens around what was seen that may change: without them the outline of the concept stays (docs/method.md)."""

FARTHEST = 64
"""Tokens by which a mask can grow or fade."""


@dataclass(frozen=True, eq=False)
class Replacement:
    """How one concept is replaced. Errors on construction: `SaeuronError`."""

    feature_set: FeatureSet
    strength: float = 1.0
    """0 to `STRONGEST`; 0 is off."""

    sensitivity: float = 1.0
    """Above 0. The share of marked tokens that opens a gate is the detector's divided by this: 2 opens at half."""

    growth: int = 0
    """Tokens of the hookpoint's map by which the mask grows on all sides."""

    feather: int = 0
    """Tokens over which its weights then fall to 0."""

    region: Tensor | None = None
    """Where it may act at most: float [M, H, W] from 0 to 1 at any resolution, None for everywhere; picture i of a
    batch takes mask i modulo M."""

    place: str = "sae"
    cut: str = "mean"
    when: When = ON_POSITIVE
    """Detection is not bound to its noise levels."""

    look_first: bool = False
    """Whether a picture whose gate opens is drawn twice; with the place ``sae`` only."""

    def __post_init__(self) -> None:
        for name, value, choices in (("place", self.place, PLACES), ("cut", self.cut, tuple(CUTS))):
            if value not in choices:
                raise SaeuronError(f"Unknown {name} {value!r}; choose one of {', '.join(choices)}.")
        if not is_finite_number(self.strength) or not 0 <= self.strength <= STRONGEST:
            raise SaeuronError(f"The strength must be from 0 to {STRONGEST:g}, found {self.strength}.")
        if not is_finite_number(self.sensitivity) or self.sensitivity <= 0:
            raise SaeuronError(f"The sensitivity must be a finite number above 0, found {self.sensitivity}.")
        for name, tokens in (("growth", self.growth), ("feather", self.feather)):
            if not isinstance(tokens, int) or not 0 <= tokens <= FARTHEST:
                raise SaeuronError(f"The {name} must be a whole number of tokens from 0 to {FARTHEST}, found {tokens}.")
        if self.look_first and self.place != "sae":
            raise SaeuronError(f"Only with the place sae it can be looked first, not with {self.place}.")
        if self.region is not None:
            check_region(self.region)

    def strength_at(self, sigma: float) -> float:
        """The strength of a run that begins at noise level `sigma`."""
        if self.feature_set.detector_or_default.from_picture(sigma):
            return min(PICTURE_FACTOR * self.strength, STRONGEST)
        return self.strength


def replacing_style(feature_set: FeatureSet, strength: float = 1.0) -> Replacement:
    """How a style is replaced: in the whole picture, and at `STYLE_STRENGTH` for a `strength` of 1."""
    return Replacement(feature_set, STYLE_STRENGTH * strength, growth=FARTHEST)


class Detection(NamedTuple):
    """What an SAE says of B pictures."""

    marks: Tensor
    """bool [B, h, w], the marked tokens."""

    share: Tensor
    """float32 [B], their share of each picture."""

    is_open: Tensor
    """bool [B], whether the gate is open: elsewhere nothing is done."""


def detect(replacement: Replacement, codes: SparseCodes, sigma: float) -> Detection:
    """Look for the concept in the codes [B, h, w, k] of the hookpoint's map at noise level `sigma`."""
    detector = replacement.feature_set.detector_or_default
    features, thresholds = replacement.feature_set.marking(sigma, codes.values.device)
    marks = marked_tokens(codes, features, thresholds, detector.at_least)
    share = marked_share(marks)
    return Detection(marks, share, gate_open(share, detector.gate_at(sigma), replacement.sensitivity))


def see(replacement: Replacement, codes: SparseCodes, sigma: float, found: Tensor) -> Detection:
    """Look at pictures that are being drawn, by the codes [B, h, w, k] of a later call: the last one counts.

    At each token the values of the concept's features are summed, and Otsu's threshold parts where they are high, which
    are the marks, from where they are low. Without the detector's thresholds, since those were learned at the first
    call, and a picture that is nearly done has codes of another size.

    The gate is open where `found`, bool [B], says that the first call opened it. Where the detector knows pictures, it
    is also open where it finds the concept in this one: a concept that no word asked for, or one that was too small
    among others.
    """
    detector = replacement.feature_set.detector_or_default
    now = detect(replacement, codes, sigma)
    features, _ = replacement.feature_set.marking(sigma, codes.values.device)
    marks = above_otsu(codes.of(features).float().sum(-1))
    return Detection(marks, now.share, found | now.is_open if detector.from_picture(sigma) else found)


def token_mask(
    replacement: Replacement, detection: Detection, limits: Tensor | None = None, answer: Tensor | None = None
) -> Tensor:
    """Weights of all tokens of the hookpoint's map, float32 [B, h, w]: all 0 where a picture's gate is closed.

    `limits` are the weights [B, h, w] of the replacement's region (`row_weights`). `answer` (`answer_map`) is needed
    for the places ``answer`` and ``both``. A small mask grows (`grow_small`), then by the replacement's growth, then it
    fades; the region limits all of that.
    """
    placed = place_tokens(replacement.place, detection.marks, answer, replacement.cut).float()
    opened = placed * detection.is_open[:, None, None]
    whole = feather(grow(grow_small(opened), replacement.growth), replacement.feather)
    return whole if limits is None else whole * limits.to(whole)


def may_change(weights: Tensor, limits: Tensor | None = None) -> Tensor:
    """What of pictures that were seen is drawn again, float32 0 or 1 [B, h, w]: where `weights` are above 0, and
    `MARGIN` tokens more, but only where `limits` (as for `token_mask`) are above 0."""
    free = grow((weights > 0).float(), MARGIN)
    return free if limits is None else free * (limits > 0).to(free)


def hold_outside(latents: Tensor, free: Tensor, clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """`latents` [B, 4, h, w] at noise level `sigma` where they are `free`, bool [B, 1, h, w]; elsewhere the `clean`
    pictures with the run's own `noise` of that level, both [B, 4, h, w]."""
    return torch.where(free, latents, clean + sigma * noise)


def place_tokens(place: str, marks: Tensor, answer: Tensor | None = None, cut: str = "mean") -> Tensor:
    """bool [B, h, w]: which tokens `place` names. Where it names none of a picture's, the SAE's `marks` count.

    Errors: `SaeuronError` for an unknown place, or without the answer that it needs.
    """
    if place == "sae":
        return marks
    if place not in PLACES or answer is None:
        raise SaeuronError(f"The place {place!r} needs the layers' answer; known places are {', '.join(PLACES)}.")
    answering: Tensor = CUTS[cut](answer)
    named = answering & marks if place == "both" else answering
    placed: Tensor = torch.where(named.any(-1).any(-1)[:, None, None], named, marks)
    return placed


def answer_size(difference: Tensor) -> Tensor:
    """How much a layer answers at each token: the norm of ``attn(x, C) - attn(x, "")`` [..., d], float32 [...]."""
    size: Tensor = difference.float().norm(dim=-1)
    return size


def answer_map(sizes: Sequence[Tensor], height: int, width: int) -> Tensor:
    """The answers of several layers, each [B, h, w] of its own map, as one: float32 [B, height, width], smoothed.

    Each is divided by its picture's mean, so that layers whose answers are long do not speak for all; they are resized
    and averaged. A layer that does not answer at all counts as 0.
    """
    total = torch.zeros(len(sizes[0]), height, width, device=sizes[0].device)
    for size in sizes:
        mean = size.mean((1, 2), keepdim=True)
        total = total + resize(torch.where(mean > 0, size / mean, 0.0), height, width)
    return smooth(total / len(sizes))


class Touched(NamedTuple):
    """The tokens of a layer's map at which something is done, found once for all layers of that size."""

    places: Tensor
    """int64 [m], in the flattened [B, t]."""

    weight: Tensor
    """float32 [m], above 0."""


def touched_tokens(weights: Tensor) -> Touched | None:
    """The tokens of `weights` [B, h, w] that are above 0; None if there are none."""
    flat = weights.flatten()
    places = flat.nonzero().squeeze(1)
    return Touched(places, flat[places]) if len(places) else None


def replace_tokens(
    attn: Any, x: Tensor, attention_output: Tensor, touched: Touched, instead: KeysValues, concept: KeysValues
) -> Tensor:
    """The output [B, t, d] of the cross-attention layer `attn` for its input `x` [B, t, d], with the concept replaced:

        attention_output + weight * (attn(x, A) - attn(x, C))

    for the `touched` tokens, the exact bits of the others. The two texts are answered to for these tokens only.
    Computed in float32, returned in the output's dtype. Whether the result is finite is not looked at: it is as large
    as the layer's own answers, and looking would make a GPU wait at every layer.
    """
    difference = attention_difference(attn, x.flatten(0, 1)[touched.places], instead, concept)
    replaced = attention_output.flatten(0, 1).clone()
    before = replaced[touched.places].float()
    after = before + touched.weight.unsqueeze(-1) * difference.float()
    replaced[touched.places] = after.to(replaced.dtype)
    return replaced.view_as(attention_output)
