"""What people type into nodes and lists: prompts one a line with # for comments, labels, multipliers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

from .errors import SaeuronError
from .files import read_text

MAX_BYTES = 4 << 20
MAX_MULTIPLIERS = 50
BYTE_ORDER_MARK = "\ufeff"


def parse_prompts(text: str) -> list[str]:
    """Lines without a # at their beginning. Byte order marks, which some editors put into files, are left out."""
    lines = (line.strip() for line in text.replace(BYTE_ORDER_MARK, "").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_prompts(path: Path) -> list[str]:
    """Errors: `SaeuronError` for a file that is missing, too large, not UTF-8 or without prompts."""
    prompts = parse_prompts(read_text(path, MAX_BYTES))
    if not prompts:
        raise SaeuronError(f"{path.name} holds no prompts.")
    return prompts


def split_labels(lines: Sequence[str], label: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """Labels and prompts of lines ``label | prompt``; the prompt may hold further bars.

    `label` gives the classifier's own word for a label, and raises `SaeuronError` where it knows none: bars stand in
    prompts for other things, too, such as the choice in ``a {red|blue} car``.
    Errors: `SaeuronError` naming the line, if it does not begin with a label that the classifier knows.
    """
    labels, prompts = [], []
    for line in lines:
        before, _, prompt = (part.strip() for part in line.partition("|"))
        problem = f"{line!r} has no label. With a classifier write what it should see before a bar: dogs | a dog."
        if not (before and prompt):
            raise SaeuronError(problem)
        try:
            labels.append(label(before))
        except SaeuronError as error:
            raise SaeuronError(f"{problem} {error}") from error
        prompts.append(prompt)
    return labels, prompts


def parse_multipliers(text: str) -> list[float]:
    """Numbers between commas or spaces. Errors: `SaeuronError` for none, too many, or what is no finite number."""
    words = text.replace(BYTE_ORDER_MARK, "").replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise SaeuronError(f"Multipliers are numbers between commas, for example -5, -10, -20; {error}.") from error
    if not 1 <= len(numbers) <= MAX_MULTIPLIERS or not all(isfinite(number) for number in numbers):
        raise SaeuronError(f"Give 1 to {MAX_MULTIPLIERS} finite multipliers between commas; found {text[:80]!r}.")
    return numbers
