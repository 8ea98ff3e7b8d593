"""Lines that people type, and the prompts made from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.features.forgetting import (
    Forgetting,
    concept_prompts,
    is_style,
    other_prompts,
    parse_concepts,
    with_article,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cat -> dog", [("cat", "dog")]),
        ("cat", [("cat", "")]),
        ("\ufeff  a cat ->  a small dog # not mine\n\n# all of it\ntower", [("a cat", "a small dog"), ("tower", "")]),
        ("cat \u2192 dog\nbird => fish", [("cat", "dog"), ("bird", "fish")]),
        ("well-known logo", [("well-known logo", "")]),
    ],
)
def test_lines(text, found):
    assert parse_concepts(text) == tuple(Forgetting(*line) for line in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Name 1 to 20"),
        ("# nothing", "Name 1 to 20"),
        ("-> dog", "Line 1, '-> dog'"),
        ("tree\ncat ->", "Line 2"),
        ("cat -> dog -> tree", "Line 1"),
        ("cat\nCat -> dog", "Line 2: 'Cat' is listed twice"),
        ("\n".join(f"thing {i}" for i in range(21)), "found 21"),
        ("x" * 500, "Line 1"),
    ],
)
def test_what_can_not_be_read_is_named(text, message):
    with pytest.raises(SaeuronError, match=message):
        parse_concepts(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        found = parse_concepts(text)
    except SaeuronError:
        return
    assert found and all(line.concept for line in found)


@pytest.mark.parametrize(
    ("words", "asked"),
    [("cat", "a cat"), ("owl", "an owl"), ("the cat", "the cat"), ("Eiffel", "Eiffel"), ("red car", "red car")],
)
def test_articles(words, asked):
    assert with_article(words) == asked


def test_each_prompt_asks_for_the_concept_once():
    for concept in ("cat", "a cat", "the old tower", "Van Gogh"):
        prompts = concept_prompts(concept)
        assert len(prompts) == 30 and all(concept.split()[-1] in prompt for prompt in prompts)
        assert not any("a a " in prompt or "small a " in prompt or "small the " in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("words", "style"),
    [
        *((words, True) for words in ("crayon style", "the Crayon STYLE ", "8-bit styles")),
        *((words, False) for words in ("style", "styled hair", "a stylish cat", "Van Gogh", "lifestyle")),
    ],
)
def test_styles_are_told_by_their_last_word(words, style):
    assert is_style(words) == style


def test_prompts_of_a_style_are_about_many_things_in_it():
    prompts = concept_prompts("crayon style")
    assert len(set(prompts)) == 30 and all("crayon style" in prompt for prompt in prompts)
    assert "a house in crayon style" in prompts and not any("a crayon" in prompt for prompt in prompts)


def test_other_styles_are_among_the_others_of_a_style():
    prompts = ["a cat in crayon style", "a cat, oil painting style", "a crayon", "a dog"]
    assert other_prompts("crayon style", prompts) == ["a cat, oil painting style", "a dog"]


def test_other_prompts_do_not_name_the_concept():
    prompts = ["a cat", "two cats", "a dog", "a catalogue", "a picture"]
    assert other_prompts("Cat", prompts) == ["a dog", "a catalogue", "a picture"]
    assert other_prompts("cats", prompts) == ["a dog", "a catalogue", "a picture"]
    with pytest.raises(SaeuronError, match="too general"):
        other_prompts("cat dog picture", prompts)
