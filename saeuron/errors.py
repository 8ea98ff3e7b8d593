"""The one kind of error that is meant for a person."""

from __future__ import annotations


class SaeuronError(ValueError):
    """Says what is wrong, what was found, and what to connect or choose instead; the host shows it at the node."""
