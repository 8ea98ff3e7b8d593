"""Peak memory, in processes of their own, because a peak only rises."""

from __future__ import annotations

import resource
import subprocess
import sys


def peak_mib() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def printed_by(module: str, *words: str) -> float:
    """The number that ``python -m module words`` prints last, to 0.1."""
    run = subprocess.run([sys.executable, "-m", module, *words], check=True, capture_output=True, text=True)
    return round(float(run.stdout.split()[-1]), 1)
