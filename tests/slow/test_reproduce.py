"""The published experiment on the miniature, from the command line."""

from __future__ import annotations

import re

from saeuron.__main__ import main


def test_reproduce_prints_three_tables(capsys):
    """With the published settings, but for the number of pictures."""
    assert main(["reproduce", "--miniature", "--images", "1"]) == 0
    printed = capsys.readouterr().out
    features, accuracy, similarity = re.split(r"\n\n(?=[23]\. )", printed)
    for concept in ("cats", "towers"):
        assert f"{concept}: 5 features for saeuron-miniature at up_blocks.0.attentions.1" in features
    assert "all steps" in features, "steps are pooled"
    assert accuracy.splitlines()[1].split() == similarity.splitlines()[1].split() == ["multiplier", "cats", "towers"]
    rows = [line.split() for line in accuracy.splitlines()[2:]]
    assert [row[0] for row in rows] == ["off", "-0.001", "-0.1", "-3", "-5"]
    assert {figure for row in rows for figure in row[1:]} <= {"0%", "100%"}, "of one picture each"
    rows = [line.split() for line in similarity.splitlines()[2:]]
    assert [row[0] for row in rows] == ["-0.5", "-1"]
    assert all(0 < float(figure) <= 1 for row in rows for figure in row[1:])
