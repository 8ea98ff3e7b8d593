"""What machine this is, for what is reported of it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TypedDict

CPUINFO = Path("/proc/cpuinfo")


class Machine(TypedDict):
    processor: str
    cores: int | None
    system: str
    python: str


def this_machine() -> Machine:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"
