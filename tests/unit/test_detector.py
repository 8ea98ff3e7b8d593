"""Marking tokens, calibrating a gate on kept pictures, and saying what a feature set reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from saeuron.errors import SaeuronError
from saeuron.features.calibration import (
    TOLERATED,
    area_under_curve,
    balanced_accuracy,
    calibrate,
    choose_gate,
    most_accurate_gate,
)
from saeuron.features.detector import DEFAULT, Detector, PictureGate, gate_open, marked_share, marked_tokens
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.reading import learn_pictures, read_pictures
from saeuron.features.selection import SelectionSettings, select_features
from saeuron.features.statistics import ActivationStatistics
from saeuron.figures.tables import feature_set_table
from saeuron.sae.model import SparseCodes
from support.codes import SAE, SIGMAS, K, N, codes_of

CATS = FeatureSet("cats", SAE, {}, {}, (FeatureStep(None, (Feature(0, mean_all=1.0), Feature(1, mean_all=0.5))),))
TOKENS = 20


def test_marked_tokens_of_a_small_example() -> None:
    codes = codes_of([{0: 1.1, 1: 0.6}, {0: 1.0, 1: 0.6}, {0: 9.0}], [{0: 2.0, 1: 2.0, 2: 2.0}, {}, {5: 9.0}])
    features, thresholds = CATS.marking(SIGMAS[0])
    assert marked_tokens(codes, features, thresholds, 2).tolist() == [[True, False, False], [True, False, False]]
    assert marked_tokens(codes, features, thresholds, 1).tolist() == [[True, True, True], [True, False, False]]
    # there are only two, so both are enough
    assert torch.equal(marked_tokens(codes, features, thresholds, 3), marked_tokens(codes, features, thresholds, 2))
    assert not marked_tokens(codes, features[:0], thresholds[:0], 1).any()
    torch.testing.assert_close(marked_share(marked_tokens(codes, features, thresholds, 1)), torch.tensor([1, 1 / 3]))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, N))
def test_marked_tokens_are_those_of_dense_codes(seed: int, at_least: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.rand(2, 3, 4, N, generator=generator).argsort(-1)[..., :K].contiguous()
    codes = SparseCodes(torch.rand(2, 3, 4, K, generator=generator), indices)
    features, thresholds = torch.randperm(N, generator=generator)[:count], torch.rand(count, generator=generator)
    dense = torch.zeros(2, 3, 4, N).scatter_(-1, indices, codes.values)
    expected = (dense[..., features] > thresholds).sum(-1) >= min(at_least, count)
    assert torch.equal(marked_tokens(codes, features, thresholds, at_least), expected)


def test_gate_opens_above_its_share_and_sensitivity_divides_it() -> None:
    share = torch.tensor([0.0, 0.05, 0.051, 0.1, 0.2])
    assert gate_open(share, 0.05).tolist() == [False, False, True, True, True]
    assert gate_open(share, 0.05, 0.5).tolist() == [False, False, False, False, True]
    assert gate_open(share, 0.05, 2.0).tolist() == [False, True, True, True, True]
    assert gate_open(share, 0.0, 1e6).tolist() == [False, True, True, True, True]  # nothing marked never opens


some_shares = st.lists(st.integers(0, 20).map(lambda share: share / 20), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40)
@given(some_shares, some_shares, st.floats(0, 1))
def test_balanced_accuracy_is_scikit_learns(concept: list[float], others: list[float], gate: float) -> None:
    labels = [1] * len(concept) + [0] * len(others)
    expected = balanced_accuracy_score(labels, [share > gate for share in concept + others])
    assert balanced_accuracy(concept, others, gate) == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(some_shares, some_shares)
def test_area_under_curve_is_scikit_learns(concept: list[float], others: list[float]) -> None:
    labels = [1] * len(concept) + [0] * len(others)
    assert area_under_curve(concept, others) == pytest.approx(roc_auc_score(labels, concept + others))


@settings(deadline=None)
@given(some_shares, some_shares)
def test_no_gate_is_more_accurate_than_the_most_accurate(concept: list[float], others: list[float]) -> None:
    gate = most_accurate_gate(concept, others)
    best = max(balanced_accuracy(concept, others, at) for at in np.arange(0, 1.01, 0.025))
    assert balanced_accuracy(concept, others, gate) >= best
    assert 0 <= gate <= 1


@pytest.mark.parametrize(
    ("concept", "others", "gate"),
    [
        ([0.5, 0.9], [0.0, 0.1], 0.3),  # the middle of the gap
        ([0.5], [0.0, 0.0, 0.5], 0.25),
        ([0.3, 0.9], [0.0, 0.4], 0.65),  # 0.15 is as accurate, in a smaller gap
        ([0.25, 0.75], [0.0, 0.5], 0.625),  # two gaps of the same width and accuracy: the higher gate
        ([0.5, 0.5], [0.5], 0.5),  # nothing tells them apart: it never opens
        ([0.0], [1.0], 1.0),
        ([0.0], [0.0], 0.0),
    ],
)
def test_most_accurate_gate_of_small_examples(concept: list[float], others: list[float], gate: float) -> None:
    assert most_accurate_gate(concept, others) == pytest.approx(gate)


@pytest.mark.parametrize(
    ("concept", "others", "gate"),
    [
        ([0.9] * 5, [0.0, 0.1], 0.1),  # new pictures of the concept may be weaker: as low as spares the others
        ([0.9] * 5, [0.1] * 199 + [0.2], 0.1),  # one in a hundred may open
        ([0.9] * 5, [0.1] * 98 + [0.2] * 2, 0.2),  # but not two
        ([0.9] * 5, [0.0] * 20, DEFAULT.gate),  # a stray token never opens
        ([0.06] * 5, [0.0] * 20, 0.03),  # unless the concept is as small
        ([0.4] * 5, [0.1] * 8 + [0.6] * 2, 0.25),  # where others can't be spared, the most accurate
    ],
)
def test_gate_of_small_examples(concept: list[float], others: list[float], gate: float) -> None:
    assert choose_gate(concept, others) == pytest.approx(gate)


@settings(deadline=None)
@given(some_shares, st.lists(st.integers(0, 20).map(lambda share: share / 20), min_size=1, max_size=300))
def test_a_lower_gate_finds_no_less_and_opens_for_few_others(concept: list[float], others: list[float]) -> None:
    gate, accurate = choose_gate(concept, others), most_accurate_gate(concept, others)
    assert gate <= accurate
    mistaken, before = (sum(share > at for share in others) for at in (gate, accurate))
    assert mistaken <= max(before, TOLERATED * len(others))


def pictures(name: str, marked: list[int], **strong: float) -> ActivationStatistics:
    """Pictures of `TOKENS` tokens, of which so many have both of CATS' features at the given strengths."""
    statistics = ActivationStatistics(SAE, SIGMAS, concept=name)
    first, second = strong.get("first", 1.5), strong.get("second", 1.5)
    for number, count in enumerate(marked):
        image = [{0: first, 1: second}] * count + [{4: 1.0}] * (TOKENS - count)
        for sigma in SIGMAS:
            statistics.add(sigma, codes_of(image), [f"{number} {name}"])
    return statistics


def test_detector_that_tells_all_apart() -> None:
    cats, others = pictures("cats", [6, 7, 8, 10, 20]), pictures("others", [0, 0, 0, 0, 2, 2, 2])
    found = calibrate(CATS, cats, others)
    assert found is not None
    assert found == Detector(2, found.gate, SIGMAS[0], (5, 5), (0, 7), 1.0)
    assert found.gate == pytest.approx(0.1)
    assert found.describe() == "finds 5 of 5, by mistake 0 of 7"


def test_detector_that_tells_nothing_apart_never_opens() -> None:
    alike = [5] * 10
    found = calibrate(CATS, pictures("cats", alike), pictures("others", alike))
    assert found is not None
    assert (found.true_positives, found.false_positives, found.auc) == ((0, 10), (0, 10), 0.5)
    assert found.describe().startswith("finds 0 of 10, by mistake 0 of 10 (often wrong")


def test_positives_are_counted_by_gates_learned_without_the_picture() -> None:
    """One of the others is marked more than the rest: learned with it the gate spares it, without it does not."""
    found = calibrate(CATS, pictures("cats", [18] * 10), pictures("others", [2] * 19 + [4]))
    assert found is not None and found.gate == pytest.approx(4 / TOKENS)
    assert (found.true_positives, found.false_positives) == ((10, 10), (1, 20))


def test_calibration_repeats_exactly_and_in_shards() -> None:
    cats, others = pictures("cats", [1, 4, 6, 8, 10, 2]), pictures("others", [0, 1, 3, 0, 5])
    assert calibrate(CATS, cats, others) == calibrate(CATS, cats, others)
    assert calibrate(CATS, ActivationStatistics.merged([cats]), others) == calibrate(CATS, cats, others)


def test_another_number_of_features_counts_only_if_clearly_better() -> None:
    # The concept's tokens have only one of the two above its threshold.
    found = calibrate(CATS, pictures("cats", [10] * 6, second=0.1), pictures("others", [0] * 6))
    assert found is not None and (found.at_least, found.true_positives) == (1, (6, 6))
    # All three numbers tell as much: the default.
    found = calibrate(CATS, pictures("cats", [10] * 6), pictures("others", [0] * 6))
    assert found is not None and found.at_least == DEFAULT.at_least
    # One picture in a hundred is found by one feature only: not enough for another number.
    nearly = pictures("cats", [10] * 100).merge(pictures("rare", [10], second=0.1))
    found = calibrate(CATS, nearly, pictures("others", [0] * 50))
    assert found is not None and (found.at_least, found.true_positives) == (DEFAULT.at_least, (100, 101))


@pytest.mark.parametrize(("cats", "others"), [(1, 5), (5, 1), (0, 5), (0, 0)])
def test_too_few_pictures_give_no_detector(cats: int, others: int) -> None:
    assert calibrate(CATS, pictures("cats", [5] * cats), pictures("others", [0] * others)) is None


def test_select_features_calibrates_and_the_table_says_so() -> None:
    cats, others = pictures("cats", [8, 9, 10]), pictures("others", [0, 0, 0, 0])
    wanted = SelectionSettings(tau=2, dead=0, overactive=1)
    found = select_features(cats, others, wanted)
    assert found.detector == calibrate(found, cats, others)
    assert "\ndetector: finds 3 of 3, by mistake 0 of 4\n" in feature_set_table(found)
    assert FeatureSet.from_json(found.to_json()) == found


def test_statistics_without_pictures_select_as_before() -> None:
    bare = {}
    for name, marked in (("cats", [8]), ("others", [0])):
        bare[name] = pictures(name, [])
        for sigma in SIGMAS:
            image = [{0: 1.5, 1: 1.5}] * marked[0] + [{4: 1.0}] * (TOKENS - marked[0])
            bare[name].add(sigma, codes_of(image))
    found = select_features(bare["cats"], bare["others"], SelectionSettings(tau=2, dead=0, overactive=1))
    assert found.detector is None
    assert "detector" not in feature_set_table(found)


def images(*marked: int) -> list[SparseCodes]:
    return pictures("some", list(marked)).pictures.codes()


@pytest.mark.parametrize(
    ("prompts", "of_concept", "of_others", "reads"),
    [
        ((9, 9, 9, 9), (0, 0, 0, 0), (0, 0, 0, 0), "word"),
        ((0, 0, 0, 0), (9, 9, 9, 9), (0, 0, 0, 0), "picture"),
        ((9, 9, 9, 9), (9, 9, 9, 9), (0, 0, 0, 0), "both"),
        ((9, 9, 9, 9), (9, 9, 9, 9), (9, 9, 9, 9), ""),  # as the trial's flowers: it opens on anything
        ((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), ""),
        ((9, 9, 9, 9), (9, 0, 0, 0), (0, 0, 0, 0), "word"),
        ((9, 9, 9, 9), (9, 9, 0, 0), (0, 0, 0, 0), "both"),
    ],
)
def test_what_it_reads(prompts: Any, of_concept: Any, of_others: Any, reads: str) -> None:
    found = read_pictures(CATS, images(*prompts), images(*of_concept), images(*of_others), 14.6, 3.0).reads
    assert found == reads
    line = replace(Detector(), reads=found).describe()
    expected = {"word": "; reads the word", "picture": "; reads the picture", "both": "; reads word and picture"}
    assert line == "not measured" + expected.get(found, "")


@pytest.mark.parametrize(
    ("found", "mistaken", "reliable"),
    [((30, 30), (0, 60), True), ((26, 40), (40, 256), False), ((30, 30), (30, 60), False)],
)
def test_the_person_is_told_of_a_detector_that_is_often_wrong(found: Any, mistaken: Any, reliable: bool) -> None:
    line = Detector(true_positives=found, false_positives=mistaken).describe()
    assert ("try an SAE at another hookpoint" in line) != reliable


def test_what_it_reads_is_told_by_its_own_gate_and_step() -> None:
    lazy = replace(CATS, detector=Detector(gate=0.5))
    assert read_pictures(lazy, images(9, 9), images(20, 20), images(0, 0), 14.6, 3.0).reads == "picture"
    steps = (FeatureStep(14.6, CATS.steps[0].features), FeatureStep(3.0, (Feature(4, mean_all=0.0),)))
    scheduled = replace(CATS, steps=steps)  # at the second step the feature of everything else
    assert read_pictures(scheduled, images(9, 9), images(0, 0), images(20, 20), 14.6, 3.0).reads == "both"


def test_what_it_reads_needs_pictures_of_each_kind() -> None:
    with pytest.raises(SaeuronError, match="found 2, 0 and 1"):
        read_pictures(CATS, images(1, 1), [], images(0), 14.6, 3.0)


@pytest.mark.parametrize(
    ("sigma", "gate"), [(14.6, 0.25), (80.0, 0.25), (9.0, 0.25), (3.0, 0.02), (1.6, 0.02), (0.1, 0.02)]
)
def test_a_run_has_the_gate_of_the_nearer_noise_level(sigma: float, gate: float) -> None:
    """Nearer by ratio: the two levels are 14.6 and 1.6, and the middle between them 4.8."""
    detector = Detector(gate=0.25, sigma=14.6, pictures=PictureGate(1.6, 0.02, (1, 1), (0, 1)))
    assert detector.gate_at(sigma) == gate
    assert replace(detector, pictures=None).gate_at(sigma) == replace(detector, sigma=None).gate_at(sigma) == 0.25


def test_the_gate_for_pictures_is_learned_from_pictures() -> None:
    found, reading = learn_pictures(CATS, images(9, 9), images(3, 4, 5, 6), images(0, 0, 1, 1), 14.6, 3.0)
    assert found.detector is not None and found.detector.pictures is not None
    assert reading.pictures == found.detector.pictures.true_positives == (4, 4)
    assert reading.others == found.detector.pictures.false_positives == (0, 4)
    assert found.detector.reads == reading.reads == "both"
    assert 1 / TOKENS <= found.detector.gate_at(3.0) < 3 / TOKENS
    assert found.detector.gate_at(14.6) == CATS.detector_or_default.gate
    assert replace(found, detector=CATS.detector) == CATS


def test_no_gate_for_pictures_is_learned_where_it_can_not_tell_them_apart() -> None:
    """Judged on pictures that it was not learned from. What is read is then told by the gate of all runs."""
    found, reading = learn_pictures(CATS, images(9, 9), images(1, 5, 1, 5), images(5, 1, 5, 1), 14.6, 3.0)
    assert found.detector == replace(CATS.detector_or_default, sigma=14.6, reads=reading.reads)
    assert reading == read_pictures(CATS, images(9, 9), images(1, 5, 1, 5), images(5, 1, 5, 1), 14.6, 3.0)


def test_a_gate_for_pictures_needs_two_of_each_kind() -> None:
    with pytest.raises(SaeuronError, match="at least 2 pictures"):
        learn_pictures(CATS, images(9), images(5), images(0, 0), 14.6, 3.0)
