"""JSON that strangers wrote and people read: parsed strictly and within bounds, written one record a line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any, NoReturn

from .errors import SaeuronError

MAX_SIZE = 16 << 20
"""Characters (and, on disk, bytes)."""

MAX_DEPTH = 32
MAX_INTEGER_DIGITS = 32


def parse_json(text: str, source: str) -> Any:
    """The value of `text`, which may begin with a byte order mark. `source` names it in messages.

    Errors: `SaeuronError` for anything but plain JSON: invalid, too long, nested too deep, a key twice in one object,
    NaN and infinities (1e999 too), huge integers, text that can't be written as UTF-8 again.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_SIZE:
        raise SaeuronError(f"{source} is larger than {MAX_SIZE >> 20} MiB; it is not what it should be.")
    _check_depth(text, source)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
        json.dumps(value, ensure_ascii=False).encode()  # an escape like \ud800 is half a character
    except ValueError as error:
        raise SaeuronError(f"{source} is not valid JSON: {error}") from error
    return value


def format_json(value: Any, indent: str = "") -> str:
    """`value` as JSON; a list or object with no others inside stays on one line. Keys keep their order.

    Errors: `SaeuronError` if `value` holds what JSON has no word for.
    """
    if isinstance(value, Mapping):
        opening, closing, children = "{", "}", list(value.values())
        if not all(isinstance(key, str) for key in value):
            raise SaeuronError(f"Only text can be a key in JSON, found {list(value)!r}.")
    elif isinstance(value, list | tuple):
        opening, closing, children = "[", "]", list(value)
    else:
        return _scalar(value)
    inner = indent + "  "
    items = [format_json(child, inner) for child in children]
    if isinstance(value, Mapping):
        items = [f"{_scalar(key)}: {item}" for key, item in zip(value, items, strict=True)]
    if any(isinstance(child, Mapping | list | tuple) and child for child in children):
        return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{closing}"
    return opening + ", ".join(items) + closing


def _scalar(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise SaeuronError(f"{brief(value)} can't be stored as JSON: {error}") from error
    return text


def _check_depth(text: str, source: str) -> None:
    """Refuse deep nesting before the parser, which recurses, sees it."""
    outside_strings = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    brackets = re.sub(r"[^][{}]+", "", outside_strings).translate({ord("{"): "[", ord("}"): "]"})
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace("[]", "")  # peels off the innermost level
    if brackets:
        raise SaeuronError(
            f"{source} is not JSON this reads: it is cut short, its brackets do not match, "
            f"or it is nested more than {MAX_DEPTH} levels deep."
        )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {brief(key)} occurs twice in one object")
        result[key] = value
    return result


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:MAX_INTEGER_DIGITS]} is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
