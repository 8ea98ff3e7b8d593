"""How many examples hypothesis tries of what strangers might write; the soak asks for more."""

from __future__ import annotations

import os


def examples(number: int) -> int:
    """`number`, times the environment's SAEURON_EXAMPLES."""
    return number * int(os.environ.get("SAEURON_EXAMPLES", "1"))
