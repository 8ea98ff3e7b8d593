"""The tests that hypothesis feeds with damaged files and hostile text, with many more examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tools.bench.soak.outcome import Outcome
from tools.host.unpack import REPOSITORY

TESTS = [f"tests/unit/test_{name}.py" for name in ("hostile_files", "feature_set", "json_text", "files")]


def read_damaged_files(factor: int) -> Outcome:
    """`factor` times as many examples as the tests themselves try."""
    command = [sys.executable, "-m", "pytest", *TESTS, "--hypothesis-show-statistics"]
    environment = {**os.environ, "SAEURON_EXAMPLES": str(factor)}
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    phases = re.findall(r"(\d+) passing(?: examples)?, (\d+) failing", run.stdout)
    outcome = Outcome(cases=sum(int(passed) + int(failed) for passed, failed in phases))
    outcome.failures += re.findall(r"^(?:FAILED|ERROR) (.*)$", run.stdout, re.MULTILINE)
    if run.returncode and not outcome.failures:
        outcome.failures.append((run.stderr or run.stdout)[-500:])
    return outcome
