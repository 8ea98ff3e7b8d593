"""Metrics against scikit-learn, scipy and values worked out by hand, also where there is nothing to measure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import accuracy_score, recall_score
from sklearn.metrics.pairwise import cosine_similarity as all_pairs

from saeuron.errors import SaeuronError
from saeuron.evaluation.metrics import (
    accuracy,
    accuracy_by_label,
    bootstrap,
    compare_unlearning,
    cosine_similarity,
    hits,
    unlearning_accuracy,
)

LABELS = ("cats", "dogs", "towers")
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1)


@given(PAIRS)
def test_accuracies_are_scikit_learn_s(pairs):
    found, truth = zip(*pairs, strict=True)
    assert accuracy(found, truth) == pytest.approx(accuracy_score(truth, found))
    recall = recall_score(["cats"] * len(found), found, labels=["cats"], average="micro", zero_division=0)
    assert unlearning_accuracy(found, "cats") == pytest.approx(1 - recall)
    asked = list(dict.fromkeys(truth))
    per_label = dict(zip(asked, recall_score(truth, found, labels=asked, average=None), strict=True))
    assert accuracy_by_label(found, truth) == pytest.approx(per_label)


def test_one_label_only():
    assert accuracy_by_label(["cats", "dogs", "cats", "cats"], ["cats"] * 4) == {"cats": 0.75}


def test_what_an_edit_removed_is_counted_among_what_was_there():
    baseline = ["cats", "cats", "cats", "dogs"]
    found = ["dogs", "cats", "towers", "cats"]
    result = compare_unlearning(found, baseline, "cats")
    assert result == pytest.approx((0.5, 0.25, 2 / 3))


def test_a_baseline_that_misses_the_concept_leaves_nothing_to_remove():
    result = compare_unlearning(["dogs", "towers"], ["dogs", "dogs"], "cats")
    assert result.accuracy == 1.0 and result.baseline == 1.0
    assert result.removed is None


@given(PAIRS)
def test_doing_nothing_removes_nothing(pairs):
    found, _ = zip(*pairs, strict=True)
    result = compare_unlearning(found, found, "cats")
    assert result.accuracy == result.baseline
    assert result.removed == (0.0 if "cats" in found else None)


@pytest.mark.parametrize(
    "measure",
    [
        lambda: accuracy([], []),
        lambda: accuracy_by_label([], []),
        lambda: unlearning_accuracy([], "cats"),
        lambda: compare_unlearning([], [], "cats"),
        lambda: bootstrap([]),
        lambda: cosine_similarity(np.zeros((0, 4)), np.zeros((0, 4))),
    ],
)
def test_no_pictures_is_an_error_not_a_number(measure):
    with pytest.raises(SaeuronError, match="no pictures"):
        measure()


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: hits(["cats"], ["cats", "dogs"]), "1 pictures, but 2 labels"),
        (lambda: compare_unlearning(["cats"], [], "cats"), "1 edited and 0 un-ablated"),
        (lambda: bootstrap([1.0, float("nan")]), "finite"),
        (lambda: bootstrap([[1.0], [2.0]]), r"shape \(2, 1\)"),
        (lambda: bootstrap([1.0], level=1.0), "level"),
        (lambda: bootstrap([1.0], resamples=0), "resamples"),
        (lambda: cosine_similarity(np.ones((2, 3)), np.ones((3, 3))), r"\(2, 3\) and \(3, 3\)"),
        (lambda: cosine_similarity(np.ones(3), np.ones(3)), "shapes"),
        (lambda: cosine_similarity(np.zeros((1, 3)), np.ones((1, 3))), "zero or not finite"),
        (lambda: cosine_similarity([[np.inf, 0]], [[1.0, 0]]), "zero or not finite"),
    ],
)
def test_what_does_not_fit_is_refused(measure, message):
    with pytest.raises(SaeuronError, match=message):
        measure()


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 1000))
def test_interval_holds_the_mean_and_is_repeatable(values, seed):
    interval = bootstrap(values, seed, resamples=200)
    assert interval.mean == pytest.approx(np.mean(values))
    assert 0 <= interval.low <= interval.high <= 1
    assert interval == bootstrap(values, seed, resamples=200)


def test_interval_of_equal_values_has_no_width():
    assert bootstrap([0.25] * 7) == (0.25, 0.25, 0.25)


def test_interval_is_scipy_s():
    values = np.random.default_rng(0).gamma(2.0, size=40)
    ours = bootstrap(values, seed=1, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    # Two independent sets of 20,000 draws: their ends differ by about 2 % of the standard error.
    tolerance = 0.1 * values.std() / len(values) ** 0.5
    assert ours.low == pytest.approx(theirs.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.high, abs=tolerance)


def test_interval_of_a_share_covers_it_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(300):
        interval = bootstrap(rng.random(40) < 0.7, trial, resamples=300)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.88 <= covered / 300 <= 0.99


EMBEDDINGS = arrays(np.float64, (4, 5), elements=st.floats(0.1, 10) | st.floats(-10, -0.1))


@given(EMBEDDINGS, EMBEDDINGS)
def test_similarity_is_scikit_learn_s_diagonal(a, b):
    assert cosine_similarity(a, b) == pytest.approx(np.diag(all_pairs(a, b)), abs=1e-12)


@given(EMBEDDINGS, st.floats(0.01, 100))
def test_similarity_ignores_length_and_knows_itself(a, scale):
    assert cosine_similarity(a, a * scale) == pytest.approx(np.ones(4))
    assert cosine_similarity(a, -a) == pytest.approx(-np.ones(4))


def test_similarity_by_hand():
    assert cosine_similarity([[1, 0], [3, 4]], [[0, 2], [4, 3]]) == pytest.approx([0.0, 0.96])
