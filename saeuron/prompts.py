"""Prompt lists: plain text, one prompt a line, # for comments."""

from __future__ import annotations

from pathlib import Path

from .errors import SaeuronError

MAX_BYTES = 4 << 20


def parse_prompts(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_prompts(path: Path) -> list[str]:
    """Errors: `SaeuronError` for a file that is missing, too large, not UTF-8 or without prompts."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SaeuronError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB; a prompt list is not that large.")
        prompts = parse_prompts(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SaeuronError(f"The prompt list {path.name} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SaeuronError(f"{path.name} is not UTF-8 text. Save it as UTF-8.") from error
    if not prompts:
        raise SaeuronError(f"{path.name} holds no prompts.")
    return prompts
