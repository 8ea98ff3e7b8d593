"""What people type into nodes and lists: prompts one a line with # for comments, labels, multipliers."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from .errors import SaeuronError
from .files import read_text

MAX_BYTES = 4 << 20
MAX_MULTIPLIERS = 50


def parse_prompts(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_prompts(path: Path) -> list[str]:
    """Errors: `SaeuronError` for a file that is missing, too large, not UTF-8 or without prompts."""
    prompts = parse_prompts(read_text(path, MAX_BYTES))
    if not prompts:
        raise SaeuronError(f"{path.name} holds no prompts.")
    return prompts


def split_labels(lines: list[str], labelled: bool) -> tuple[list[str], list[str]]:
    """Labels and prompts of lines ``label | prompt``; lines without a label will do where none are needed.

    Errors: `SaeuronError` naming the line, if `labelled` and one has no label.
    """
    labels, prompts = [], []
    for line in lines:
        label, bar, prompt = (part.strip() for part in line.partition("|"))
        if labelled and not (bar and label and prompt):
            raise SaeuronError(
                f"{line!r} has no label. With a classifier write what it should see before a bar: dogs | a dog."
            )
        prompts.append(prompt if bar else label)
        labels.append(label)
    return (labels if labelled else []), prompts


def parse_multipliers(text: str) -> list[float]:
    """Numbers between commas or spaces. Errors: `SaeuronError` for none, too many, or what is no finite number."""
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise SaeuronError(f"Multipliers are numbers between commas, for example -5, -10, -20; {error}.") from error
    if not 1 <= len(numbers) <= MAX_MULTIPLIERS or not all(isfinite(number) for number in numbers):
        raise SaeuronError(f"Give 1 to {MAX_MULTIPLIERS} finite multipliers between commas; found {text[:80]!r}.")
    return numbers
