"""Short forms of `python -m tools.bench.soak`, and what it makes of its findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from saeuron.errors import SaeuronError
from saeuron.features.feature_set import FeatureSet
from tools.bench.soak import kills
from tools.bench.soak.__main__ import REPORT
from tools.bench.soak.table import HEADER, with_row
from tools.bench.soak.traces import kib_per_prompt

DOCUMENT = "# Title\n\n<!-- written by make soak -->\n<!-- end -->\n\nAfter.\n"


def test_killed_while_saving() -> None:
    outcome = kills.kill_while_saving(len(kills.MAKERS))  # one of each; `make soak` kills many
    assert outcome.cases == len(kills.MAKERS)
    assert not outcome.failures


@pytest.mark.parametrize("name", kills.MAKERS)
def test_a_broken_or_mixed_file_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    kills.MAKERS[name](1).save(path)
    kills.CHECKS[name](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SaeuronError):
        kills.CHECKS[name](path)


def test_a_mixture_of_two_versions_is_found(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    kills.feature_set(1).save(path)
    path.write_bytes(path.read_bytes().replace(b'"concept": "1"', b'"concept": "2"'))
    assert FeatureSet.load(path).concept == "2"
    with pytest.raises(SaeuronError, match="mixture"):
        kills.check_feature_set(path)


def test_rows_are_added_and_replaced() -> None:
    row = ["kills", *["x"] * (len(HEADER) - 1)]
    once = with_row(DOCUMENT, row)
    both = with_row(once, ["traces", *row[1:]])
    again = with_row(both, ["kills", *["y"] * (len(HEADER) - 1)])
    assert once.count("| kills |") == both.count("| kills |") == again.count("| kills |") == 1
    assert "| traces | x" in again and "| kills | y" in again and "| kills | x" not in again
    assert again.startswith("# Title\n") and again.endswith("\n\nAfter.\n")


def test_the_report_has_a_table() -> None:
    assert with_row(REPORT.read_text(encoding="utf-8"), HEADER).count("\n| Part |") == 2


def test_slope_of_memory() -> None:
    assert kib_per_prompt([0, 1024, 2048]) == pytest.approx(1)
    assert kib_per_prompt([7]) == 0
