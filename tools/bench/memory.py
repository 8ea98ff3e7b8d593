"""Peak memory, in processes of their own, because a peak only rises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def peak_mib() -> float:
    """Of this process so far, on Linux. Not what getrusage says: that begins at the size of the parent process."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None, "every Linux process has it"
    return int(found.group(1)) / 1024


def printed_by(module: str, *words: str) -> float:
    """The number that ``python -m module words`` prints last, to 0.1."""
    run = subprocess.run([sys.executable, "-m", module, *words], check=True, capture_output=True, text=True)
    return round(float(run.stdout.split()[-1]), 1)
