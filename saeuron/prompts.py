"""Prompt lists: plain text, one prompt a line, # for comments."""

from __future__ import annotations

from pathlib import Path

from .errors import SaeuronError
from .files import read_text

MAX_BYTES = 4 << 20


def parse_prompts(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_prompts(path: Path) -> list[str]:
    """Errors: `SaeuronError` for a file that is missing, too large, not UTF-8 or without prompts."""
    prompts = parse_prompts(read_text(path, MAX_BYTES))
    if not prompts:
        raise SaeuronError(f"{path.name} holds no prompts.")
    return prompts
