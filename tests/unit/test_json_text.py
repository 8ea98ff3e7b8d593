from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.json_text import MAX_DEPTH, MAX_SIZE, format_json, parse_json
from support.examples import examples

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('[]{}",:\\\n'), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


@settings(deadline=None, max_examples=examples(100))
@given(values)
def test_format_then_parse_gives_the_value_back(value: object) -> None:
    text = format_json(value)
    assert parse_json(text, "x") == value
    assert format_json(parse_json(text, "x")) == text


@settings(deadline=None, max_examples=examples(100))
@given(values)
def test_parses_what_the_standard_library_writes(value: object) -> None:
    assert parse_json(json.dumps(value), "x") == value


def test_a_byte_order_mark_is_left_out() -> None:
    assert parse_json('\ufeff{"a": 1}', "x") == {"a": 1}


def test_one_record_a_line() -> None:
    assert format_json({"b": 1, "a": [{"x": 1, "y": [2]}, {"x": 3}], "empty": []}).splitlines() == [
        "{",
        '  "b": 1,',
        '  "a": [',
        "    {",
        '      "x": 1,',
        '      "y": [2]',
        "    },",
        '    {"x": 3}',
        "  ],",
        '  "empty": []',
        "}",
    ]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: 2}, {"a": object()}, {1, 2}, "\ud800", {"\udfff": 1}]
)
def test_does_not_write_what_json_has_no_word_for(value: object) -> None:
    with pytest.raises(SaeuronError):
        format_json(value)


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + "0" + "]}" * (depth // 2)


def test_depth_is_bounded_exactly() -> None:
    parse_json(nested(MAX_DEPTH), "x")
    with pytest.raises(SaeuronError, match="levels deep"):
        parse_json(nested(MAX_DEPTH + 2), "x")


def test_brackets_in_strings_are_not_depth() -> None:
    text = json.dumps(["[" * 1000, '\\"' + "{" * 1000, "\\", "]" * 1000])
    assert parse_json(text, "x") == json.loads(text)


HOSTILE = {
    "empty": "",
    "cut short": '{"a": [1, 2',
    "not JSON": "{a: 1}",
    "two values": "{} {}",
    "key twice": '{"a": 1, "b": 2, "a": 3}',
    "key twice, deeper": '[{"a": {"b": 1, "b": 1}}]',
    "key twice, many keys": "{" + ",".join(f'"{i}":0' for i in range(200_000)) + ',"199999":0}',
    "long key twice": '{"' + '": 0, "'.join(["k" * 1_000_000] * 2) + '": 0}',
    "NaN": "[NaN]",
    "infinity": "[-Infinity]",
    "float overflow": "[1e999]",
    "integer no float can hold": "9" * 400,
    "huge integer": "9" * 5_000_000,
    "half a character": '["\\ud800"]',
    "deep lists": "[" * 8_000_000,
    "deep lists, closed": "[" * 4_000_000 + "]" * 4_000_000,
    "deep objects": '{"a":' * 1_000_000,
    "escaped quotes": '["' + '\\"' * 4_000_000,
    "too large": '"' + "x" * MAX_SIZE + '"',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_quickly(name: str) -> None:
    start = time.process_time()
    with pytest.raises(SaeuronError, match="who sent it") as caught:
        parse_json(HOSTILE[name], "who sent it")
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 500
