"""The table in docs/reliability.md: a row for each part, between two marks."""

from __future__ import annotations

from collections.abc import Sequence

HEADER = ("Part", "What", "Cases", "Failures", "Memory of the server", "Minutes", "Command", "Machine")
BEGIN, END = "<!-- written by make soak -->", "<!-- end -->"


def with_row(document: str, row: Sequence[str]) -> str:
    """`document` with `row` in its table, in the place of the row with the same first cell if there is one."""
    before, rest = document.split(BEGIN)
    table, after = rest.split(END)
    rows = {line.split("|")[1].strip(): line for line in table.strip().splitlines()[2:]}
    rows[row[0]] = _line(row)
    lines = [BEGIN, "", _line(HEADER), _line(["---"] * len(HEADER)), *rows.values(), "", END]
    return before + "\n".join(lines) + after


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
