"""What people type: labels before prompts, lists of multipliers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.prompts import MAX_MULTIPLIERS, parse_multipliers, split_labels


def test_labels_stand_before_a_bar():
    lines = ["dogs | a dog", "towers|a tower | by night"]
    assert split_labels(lines, labelled=True) == (["dogs", "towers"], ["a dog", "a tower | by night"])


def test_without_a_classifier_labels_are_optional_and_not_drawn():
    assert split_labels(["dogs | a dog", "a tower"], labelled=False) == ([], ["a dog", "a tower"])


@pytest.mark.parametrize("line", ["a dog", "| a dog", "dogs |"])
def test_a_missing_label_is_named(line):
    with pytest.raises(SaeuronError, match=line.replace("|", r"\|")):
        split_labels([line], labelled=True)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=MAX_MULTIPLIERS), st.sampled_from([", ", ",", " ", "\n"]))
def test_multipliers_come_back_as_written(numbers, separator):
    assert parse_multipliers(separator.join(map(repr, numbers))) == numbers


@pytest.mark.parametrize("text", ["", " , ", "-5; -10", "ten", "nan", "-inf", "0x10", "1 " * (MAX_MULTIPLIERS + 1)])
def test_what_is_no_list_of_multipliers(text):
    with pytest.raises(SaeuronError, match=r"[Mm]ultipliers"):
        parse_multipliers(text)
