"""Run the long tests and write what they found to docs/reliability.md; the rows of parts that are not run stay."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from saeuron.files import write_atomically
from tools.bench.machine import this_machine
from tools.bench.soak.damage import read_damaged_files
from tools.bench.soak.kills import kill_while_saving
from tools.bench.soak.outcome import Outcome
from tools.bench.soak.table import with_row
from tools.bench.soak.traces import leave_no_trace
from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY

REPORT = REPOSITORY / "docs" / "reliability.md"


class Part(NamedTuple):
    what: str
    run: Callable[[int], Outcome]
    size: int
    """Prompts, kills, or how many times the examples of the tests."""


def traces(prompts: int) -> Outcome:
    with ComfyServer() as server:
        return leave_no_trace(server, prompts)


PARTS = {
    "traces": Part("prompts with edits on, off, chained, interrupted; plain pictures stay the same", traces, 1000),
    "kills": Part("kills while saving; the file is the old one or the new one", kill_while_saving, 100),
    "damage": Part("damaged and hostile files, read whole or refused with a message", read_damaged_files, 20),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--cases", type=int, help="size of the parts: prompts, kills, times the tests' examples")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    here = this_machine()
    machine = f"{here['processor']}, {here['cores']} cores, {here['system']}, Python {here['python']}, no GPU"
    failed = False
    for name in arguments.parts or PARTS:
        part = PARTS[name]
        size = arguments.cases or part.size
        start = time.monotonic()
        outcome = part.run(size)
        minutes = (time.monotonic() - start) / 60
        command = f"`python -m tools.bench.soak {name} --cases {size}`"
        row = [name, part.what, f"{outcome.cases:,}", str(len(outcome.failures)), outcome.memory or "-",
               f"{minutes:.1f}", command, machine]  # fmt: skip
        write_atomically(REPORT, with_row(REPORT.read_text(encoding="utf-8"), row).encode())
        print(" | ".join(row), *outcome.failures, sep="\n", flush=True)
        failed |= bool(outcome.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
