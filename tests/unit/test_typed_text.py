"""What people type: labels before prompts, lists of multipliers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.evaluation.sweep import subjects_of
from saeuron.prompts import MAX_MULTIPLIERS, parse_multipliers, parse_prompts, read_prompts, split_labels

KNOWN = ("dogs", "towers")


def label(name):
    """As `Classifier.label` does it."""
    if name.lower() in KNOWN:
        return name.lower()
    raise SaeuronError(f"The classifier knows no {name!r}. It knows: {', '.join(KNOWN)}.")


def test_labels_stand_before_a_bar():
    lines = ["dogs | a dog", "Towers|a tower | by night", "dogs | a {big|small} [dog|wolf]"]
    prompts = ["a dog", "a tower | by night", "a {big|small} [dog|wolf]"]
    assert split_labels(lines, label) == (["dogs", "towers", "dogs"], prompts)


@pytest.mark.parametrize("line", ["a dog", "| a dog", "dogs |", "|", "dogs | "])
def test_a_missing_label_is_named(line):
    with pytest.raises(SaeuronError, match=re.escape(f"{line!r} has no label")):
        split_labels(["dogs | a dog", line], label)


@pytest.mark.parametrize(
    "line", ["a {red|blue} car", "[dog|wolf] on a sofa", "[a:b:0.5] | a cat", "unicorns | a unicorn"]
)
def test_what_stands_before_a_bar_is_a_label_only_if_the_classifier_knows_it(line):
    with pytest.raises(SaeuronError, match=re.escape(repr(line)) + ".*before a bar.*It knows: dogs, towers"):
        split_labels([line], label)


@pytest.mark.parametrize("line", ["a {red|blue} car", "[dog|wolf] on a sofa", "dogs | a dog", "|", "a <lora:x:1>|b"])
def test_without_a_classifier_a_bar_is_a_part_of_the_prompt(line):
    subjects = subjects_of(parse_prompts(line), parse_prompts(line), 1, 0, None)
    assert [shot.prompt for shot in (*subjects.concept, *subjects.others)] == [line, line]


def test_byte_order_marks_are_left_out(tmp_path):
    assert parse_prompts("\ufeff# a comment\n\ufeffa cat\n\ufeff\na dog") == ["a cat", "a dog"]
    assert parse_multipliers("\ufeff-5, -10") == [-5.0, -10.0]
    file = tmp_path / "prompts.txt"
    file.write_text("# a comment\na cat\n", encoding="utf-8-sig")
    assert read_prompts(file) == ["a cat"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=MAX_MULTIPLIERS), st.sampled_from([", ", ",", " ", "\n"]))
def test_multipliers_come_back_as_written(numbers, separator):
    assert parse_multipliers(separator.join(map(repr, numbers))) == numbers


@pytest.mark.parametrize("text", ["", " , ", "-5; -10", "ten", "nan", "-inf", "0x10", "1 " * (MAX_MULTIPLIERS + 1)])
def test_what_is_no_list_of_multipliers(text):
    with pytest.raises(SaeuronError, match=r"[Mm]ultipliers"):
        parse_multipliers(text)
