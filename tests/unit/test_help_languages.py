"""The host shows a node's help in its own language; what is no prose is the same in each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tools.host.unpack import REPOSITORY

DOCS, LANGUAGES = REPOSITORY / "web" / "docs", sorted(folder.name for folder in (REPOSITORY / "locales").iterdir())
TRANSLATED = sorted(folder for folder in DOCS.glob("Saeuron*") if folder.is_dir())

CELL_END = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"\]\(([^)]+)\)")
CODE = re.compile(r"`[^`\n]+`")


def outline(page: str) -> list[str | int]:
    """What each line is: a heading of a level, a table's row of so many cells, an item, code, or prose."""
    lines: list[str | int] = []
    for line in page.splitlines():
        if line.startswith("    "):
            lines.append(line)  # code, word for word
        elif heading := re.match(r"#+ ", line):
            lines.append(heading[0])
        elif line.startswith("|"):
            lines.append(len(CELL_END.findall(line)))
        elif item := re.match(r"(- |\d+\. )", line):
            lines.append(item[0])
        elif line:
            lines.append("prose")
    return lines


@pytest.mark.parametrize("folder", TRANSLATED, ids=lambda folder: folder.name)
def test_a_translated_page_stands_in_every_language(folder: Path) -> None:
    assert sorted(page.stem for page in folder.iterdir()) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("folder", TRANSLATED, ids=lambda folder: folder.name)
def test_what_is_no_prose_is_as_in_english(folder: Path, language: str) -> None:
    english = (DOCS / f"{folder.name}.md").read_text(encoding="utf-8")
    translated = (folder / f"{language}.md").read_text(encoding="utf-8")
    assert outline(translated) == outline(english)
    # Another language may say things in another order, and set a name in backticks that English leaves as it is.
    assert sorted(LINK.findall(translated)) == sorted(LINK.findall(english))
    assert not Counter(CODE.findall(english)) - Counter(CODE.findall(translated))


def test_the_newer_nodes_are_translated() -> None:
    assert {folder.name for folder in TRANSLATED} >= {"SaeuronForget", "SaeuronReplace", "SaeuronTrainSAE"}
