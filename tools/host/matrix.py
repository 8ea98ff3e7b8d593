"""``python -m tools.host.matrix``: the tests on both hosts with both front ends, into docs/reliability.md.

It takes half an hour or more. A run that was stopped goes on with the first tier that had not ended, as long as the
checkout is at the same commit with nothing changed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from .newer import KNOWN, archive_of
from .unpack import REPOSITORY, VERSION, HostError

REPORT = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- written by python -m tools.host.matrix -->", "<!-- end of the matrix -->"
HEADER = ("ComfyUI", "Front end", "host", "live", "browser")
NEWEST_FRONT_END = "1.58.1"
TIERS = ("host", "live", "browser")
KEPT = REPOSITORY / "output" / "matrix.json"
FAILED = " failed"
# What pytest returns where it came to the end: all passed, or some failed.
ENDED = (0, 1)


class Combination(NamedTuple):
    host: str
    front_end: str
    """Empty: the host's own."""

    tiers: tuple[str, ...]


def combinations() -> list[Combination]:
    """What a front end is not asked about is tested with the host's own alone."""
    newest = list(KNOWN)[-1]
    return [
        Combination(host, front_end, TIERS if not front_end else TIERS[-1:])
        for host in (VERSION, newest)
        for front_end in ("", NEWEST_FRONT_END)
    ]


def counts(combination: Combination, tier: str) -> str:
    """Of one tier, such as ``483 passed, 2 skipped``.

    Raises:
        HostError: the tests did not come to their end.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        run = [] if combination.host == VERSION else ["-m", "tools.host.newer", combination.host]
        command = [sys.executable, *run, "-m", "pytest", f"tests/{tier}", "--quiet", f"--junitxml={report}"]
        environment = {**os.environ, "FRONT_END": combination.front_end}
        status = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
        # pytest writes a report of what it got through when it is interrupted, too.
        if status not in ENDED or not report.exists():
            raise HostError(f"tests/{tier} on ComfyUI {combination.host} did not come to the end (status {status}).")
        return read_counts(report.read_text(encoding="utf-8"))


def commit() -> str:
    """Of the checkout; empty where it is not known or something is changed."""
    status, head = (
        subprocess.run(["git", *command], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        for command in (["status", "--porcelain", "--untracked-files=no"], ["rev-parse", "HEAD"])
    )
    return "" if status.returncode or head.returncode or status.stdout else head.stdout.strip()


class Kept:
    """Counts of an earlier run at the same commit, and what is added to them."""

    def __init__(self, file: Path, of: str) -> None:
        self._file, self._of = file, of
        kept = json.loads(file.read_text(encoding="utf-8")) if of and file.exists() else {}
        self._counts: dict[str, str] = kept["counts"] if kept.get("commit") == of else {}

    def counts(self, combination: Combination, tier: str) -> str:
        """Kept, or counted now. What failed is counted again."""
        name = " ".join((combination.host, combination.front_end or "own", tier))
        if FAILED in self._counts.get(name, FAILED):
            self._counts[name] = counts(combination, tier)
            self._file.parent.mkdir(exist_ok=True)
            work = self._file.with_suffix(".new")
            work.write_text(json.dumps({"commit": self._of, "counts": self._counts}, indent=1), encoding="utf-8")
            work.replace(self._file)
        return self._counts[name]


def read_counts(report: str) -> str:
    """Of pytest's JUnit report."""
    suite = next(ElementTree.fromstring(report).iter("testsuite"))
    found = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    failed = found["failures"] + found["errors"]
    parts = {"passed": found["tests"] - failed - found["skipped"], "failed": failed, "skipped": found["skipped"]}
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count)


def own_front_end(host: str) -> str:
    """The version that a host asks for."""
    if host != VERSION:
        (asked,) = [line for line in KNOWN[host].requirements if line.startswith("comfyui-frontend-package==")]
        return asked.partition("==")[2]
    listed = (REPOSITORY / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    (asked,) = [line for line in listed if line.startswith("comfyui-frontend-package==")]
    return asked.partition("==")[2]


def with_table(document: str, rows: list[tuple[str, ...]]) -> str:
    """`document` with `rows` between the two marks."""
    before, rest = document.split(BEGIN)
    after = rest.split(END)[1]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "\n".join([before + BEGIN, "", *(f"| {' | '.join(line)} |" for line in lines), "", END + after])


def main() -> int:
    argparse.ArgumentParser(prog="tools.host.matrix", description=__doc__).parse_args()
    rows, kept = [], Kept(KEPT, commit())
    for combination in combinations():
        if combination.host != VERSION and not archive_of(combination.host).exists():
            print(f"skipped: {archive_of(combination.host).name} is not there")
            return 1
        shown = combination.front_end or own_front_end(combination.host)
        try:
            found = {tier: kept.counts(combination, tier) for tier in combination.tiers}
        except HostError as error:
            print(f"{error} Run it again: it goes on from here.", file=sys.stderr)
            return 1
        rows.append((combination.host, shown, *(found.get(tier, "-") for tier in TIERS)))
        print(rows[-1], flush=True)
    REPORT.write_text(with_table(REPORT.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return int(any(FAILED in cell for row in rows for cell in row))


if __name__ == "__main__":
    sys.exit(main())
