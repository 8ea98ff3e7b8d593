"""The rules of the house that a person would forget: every test belongs to a tier, and files stay short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.host.newer import KNOWN

NEWEST = list(KNOWN)[-1]
ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
FAST = ("unit", "host", "live", "browser")
TIERS = (*FAST, "slow")
MOST_LINES = 300


def test_no_test_is_outside_of_a_tier() -> None:
    files = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")]
    assert {path.parts[0] for path in files} == set(TIERS)


def test_no_test_hides_in_a_file_that_pytest_does_not_collect() -> None:
    others = [path for path in TESTS.rglob("*.py") if not path.name.startswith("test_")]
    hidden = re.compile(r"^(async )?def test_|^class Test", re.MULTILINE)
    assert others and not [path for path in others if hidden.search(path.read_text(encoding="utf-8"))]


def test_make_runs_each_tier() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^TIER \?= (.+)$", makefile, re.MULTILINE)[1].split() == list(FAST)
    assert "pytest tests/slow " in makefile
    ran_before_a_change_lands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make lint", "make test", "make test-slow"} <= set(ran_before_a_change_lands)
    newer = {line for line in ran_before_a_change_lands if "HOST=" in line or "FRONT_END=" in line}
    assert len(newer) == 3 and f"make test HOST={NEWEST}" in newer


def test_the_newest_host_is_known() -> None:
    requirements = (ROOT / "nodes" / "host" / "requirements.py").read_text(encoding="utf-8")
    assert f'NEWEST = "{NEWEST}"' in requirements


def test_the_tests_that_pages_name_are_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"tests/[\w/]+\.py", page.read_text(encoding="utf-8"))}
    assert named and not {name for name in named if not (ROOT / name).is_file()}


@pytest.mark.parametrize("folder", ["saeuron", "nodes", "tools"])
def test_no_file_is_longer_than_a_person_reads_in_one_sitting(folder: str) -> None:
    files = [path for kind in ("*.py", "*.mjs") for path in (ROOT / folder).rglob(kind)]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert lines and not {name: count for name, count in lines.items() if count > MOST_LINES}
