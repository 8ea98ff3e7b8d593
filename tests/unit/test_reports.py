"""What a person reads about a measurement, above all where the number alone would mislead."""

from __future__ import annotations

import pytest

from saeuron.errors import SaeuronError
from saeuron.evaluation.reports import retain_report, similarity_report, unlearning_report


def test_unlearning_with_its_baseline():
    report = unlearning_report(["dogs", "cats", "towers", "dogs"], "cats", ["cats", "cats", "cats", "dogs"])
    first, seen, before, removed = report.splitlines()
    assert first.startswith("UA of cats: 75.0% (95 % interval 25.0% to 100.0%) of 4 pictures")
    assert seen == "The classifier sees: dogs 2, cats 1, towers 1."
    assert before == "Without the edit: 25.0%. The classifier sees: cats 3, dogs 1."
    assert removed == "Of 3 pictures that showed cats without the edit, 66.7% lost it."


@pytest.mark.parametrize(
    ("baseline", "said", "not_said"),
    [
        (None, "No un-ablated pictures to compare with", "Without the edit"),
        (["dogs", "dogs"], "There is nothing to remove", "lost it"),
        (["cats", "dogs"], "most of this UA is not the edit's doing", "nothing to remove"),
        (["cats", "cats"], "100.0% lost it", "not the edit's doing"),
    ],
)
def test_what_a_full_ua_hides(baseline, said, not_said):
    report = unlearning_report(["dogs", "towers"], "cats", baseline)
    assert "UA of cats: 100.0%" in report
    assert said in report and not_said not in report


def test_retained_accuracy_by_label():
    found, truth = ["cats", "dogs", "cats"], ["cats", "dogs", "dogs"]
    lines = retain_report(found, truth, ["cats", "cats", "dogs"]).splitlines()
    assert lines[0].startswith("Retained accuracy: 66.7% (95 % interval")
    assert lines[1:] == [
        "Without the edit: 66.7%.",
        "cats: 100.0% of 1 picture, 100.0% without the edit",
        "dogs: 50.0% of 2 pictures, 50.0% without the edit",
    ]
    assert retain_report(["cats"], ["cats"]).endswith("what happens to others is not measured here.")


def test_similarities():
    lines = similarity_report([1.0, 0.5]).splitlines()
    assert lines[0].startswith("CLIP similarity: 0.750 (95 % interval 0.500 to 1.000) of 2 pictures")
    assert lines[1:] == ["picture 1: 1.000", "picture 2: 0.500"]


@pytest.mark.parametrize(
    "report", [lambda: unlearning_report([], "cats"), lambda: retain_report([], []), lambda: similarity_report([])]
)
def test_no_pictures(report):
    with pytest.raises(SaeuronError, match="no pictures"):
        report()
