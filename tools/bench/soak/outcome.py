"""What a part of the soak found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    cases: int = 0
    failures: list[str] = field(default_factory=list)
    memory: str = ""
    """What was measured of it; empty where memory is not what the part is about."""

    def count(self, failure: str = "") -> None:
        """One more case, which failed if `failure` says how."""
        self.cases += 1
        if failure:
            self.failures.append(failure)
