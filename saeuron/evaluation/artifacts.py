"""The artifact measure: how far edited pictures leave what the un-ablated model draws, without a large judge.

Two numbers, because each is blind where the other sees:

- `kernel_distance` compares the two sets of pictures as wholes, by their features. It sees any shift of the features,
  also a harmless one: a set from which cats are gone differs from one with cats, so give it pictures of prompts that
  do not name the concept, or compare edits of one concept with each other only. It can't tell which picture is bad.
- `RealismJudge` looks at one picture at a time and says which ones look spoilt. It knows the kinds of damage it was
  trained on (`corruptions`) and what resembles them; `caught` says how much of each it finds at its threshold. A
  picture that is clean but of the wrong thing passes, and that is meant: whether the right thing is shown is for UA and
  the retained accuracies.

Neither sees what the features do not hold: those of a small classifier know little about fine detail, hands or faces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SaeuronError
from ..optional import require
from .corruptions import CORRUPTIONS, Pixels, corrupt

Features = NDArray[np.floating[Any]]

MIN_BLOCK = 10
MIN_REAL = 60
REJECTED_REAL = 0.05
"""Share of real pictures that a realism judge rejects: what is rejected beyond it counts."""


class KernelDistance(NamedTuple):
    value: float
    """Mean over the blocks of the unbiased MMD², in the units of the features; around 0, also below, for equal sets."""
    standard_error: float
    """Of that mean; nan with a single block."""


def kernel_distance(edited: ArrayLike, plain: ArrayLike, block: int = 50, seed: int = 0) -> KernelDistance:
    """KID between features [m, d] of edited and [n, d] of un-ablated pictures.

    Section 4 of Binkowski et al., arXiv 1801.01401: MMD² with the kernel k(x, y) = (x·y / d + 1)³, estimated without
    bias on blocks of `block` pictures of each set, and averaged. The blocks are disjoint and drawn by `seed`; pictures
    that fill no block are left out, and where a set has fewer than `block` there is one block of all that are there.
    The smaller set decides the number of blocks.
    Errors: `SaeuronError` for fewer than 10 pictures in a set, or features that do not match.
    """
    x, y = _features(edited), _features(plain)
    if x.shape[1] != y.shape[1]:
        raise SaeuronError(f"The features have {x.shape[1]} and {y.shape[1]} numbers; take both from one classifier.")
    smaller = min(len(x), len(y))
    if smaller < MIN_BLOCK or block < MIN_BLOCK:
        raise SaeuronError(
            f"A kernel distance needs at least {MIN_BLOCK} pictures in each set and block; found {len(x)} edited and "
            f"{len(y)} un-ablated pictures, and blocks of {block}."
        )
    block = min(block, smaller)
    rng, count = np.random.default_rng(seed), smaller // block
    x_blocks, y_blocks = (
        values[rng.permutation(len(values))[: count * block]].reshape(count, block, -1) for values in (x, y)
    )
    distances = [squared_mmd(a, b) for a, b in zip(x_blocks, y_blocks, strict=True)]
    error = np.std(distances, ddof=1) / count**0.5 if count > 1 else np.nan
    return KernelDistance(float(np.mean(distances)), float(error))


def squared_mmd(x: Features, y: Features) -> float:
    """Unbiased MMD² of x [m, d] and y [n, d], m and n of at least 2, with k(x, y) = (x·y / d + 1)³.

    Equation 3 of Gretton et al., JMLR 13 (2012): the mean of k over pairs of two different rows of x, plus the same of
    y, minus twice the mean over all pairs of a row of x and a row of y.
    """
    within_x, within_y, across = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    m, n = across.shape
    return float(
        (within_x.sum() - within_x.trace()) / (m * (m - 1))
        + (within_y.sum() - within_y.trace()) / (n * (n - 1))
        - 2 * across.mean()
    )


def _kernel(x: Features, y: Features) -> Features:
    kernel: Features = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


class RealismJudge:
    """Tells real pictures from corrupted copies: a support vector machine on features of classifiers.

    `features` maps uint8 [B, H, W, 3] to [B, d], such as `Classifier.features`, or those of several judges side by
    side, which see more. `real` are pictures as they should be, uint8 [N, H, W, 3]: un-ablated ones of the model, or
    drawings and reconstructions; 60 are the least, several hundred make a much better judge. They must be as varied as
    what is judged later, in wordings above all, and some of them empty if an empty picture is no fault. None of them
    may be judged later. Two thirds and a corrupted copy of each kind are what it learns; on the rest it sets the
    threshold at which 5 % of real pictures are rejected. `seed` decides split and corruptions; the same inputs give the
    same judge.
    Errors: `SaeuronError` for too few real pictures, or if scikit-learn is not installed.
    """

    def __init__(self, features: Callable[[Pixels], Features], real: Pixels, seed: int = 0) -> None:
        if len(real) < MIN_REAL:
            raise SaeuronError(
                f"A realism judge needs at least {MIN_REAL} real pictures, found {len(real)}: with fewer its threshold "
                "would be chance. Draw more with nothing removed."
            )
        require("sklearn", "scikit-learn", "The realism judge")
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        self._features = features
        self._seed = seed
        order = np.random.default_rng(seed).permutation(len(real))
        learnt, held_out = np.split(real[order], [len(real) * 2 // 3])
        spoilt = [corrupt(learnt, kind, seed) for kind in CORRUPTIONS]
        x = np.concatenate([_features(features(part)) for part in (learnt, *spoilt)])
        is_real = np.arange(len(x)) < len(learnt)
        # Curved, because a straight line finds half as many blurred regions at the same share of false rejections.
        machine = SVC(C=3.0, class_weight="balanced")
        self._model = make_pipeline(StandardScaler(), machine).fit(x, is_real)
        self._threshold = float(np.quantile(self.realism(held_out), REJECTED_REAL))
        self.caught = self.caught_of(held_out)
        """`caught_of` the real pictures that it set its threshold on."""

    def caught_of(self, real: Pixels) -> dict[str, float]:
        """Share of corrupted copies of `real` that it rejects, by kind: what it can see.

        `real` are pictures that it did not learn from. Below 1 also because shuffling or blurring a plain background
        changes nothing.
        """
        return {kind: self.rejected_share(corrupt(real, kind, self._seed + 1)) for kind in CORRUPTIONS}

    def realism(self, pictures: Pixels) -> NDArray[np.float64]:
        """Signed distance from the border between spoilt (below 0) and real, in margins; float64 [B]."""
        scores: NDArray[np.float64] = self._model.decision_function(_features(self._features(pictures)))
        return scores

    def rejects(self, pictures: Pixels) -> NDArray[np.bool_]:
        """Whether each picture looks more spoilt than 95 % of the held-out real ones, bool [B]."""
        rejected: NDArray[np.bool_] = self.realism(pictures) < self._threshold
        return rejected

    def rejected_share(self, pictures: Pixels) -> float:
        """About 0.05 for pictures that are as good as the real ones. Errors: `SaeuronError` for no pictures."""
        if not len(pictures):
            raise SaeuronError("There are no pictures to judge.")
        return float(self.rejects(pictures).mean())


def _features(values: ArrayLike) -> NDArray[np.float64]:
    features = np.asarray(values, dtype=np.float64)
    if features.ndim != 2:
        raise SaeuronError(f"Expected features [pictures, numbers], found shape {features.shape}.")
    if not np.isfinite(features).all():
        raise SaeuronError("Features are not finite: a picture or the classifier's weights are damaged.")
    return features
