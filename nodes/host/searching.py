"""What people type into the node search who do not know our names."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from comfy_api.v0_0_2 import io

FORGETTING = ("forget", "unlearn", "erase", "remove concept", "negative prompt", "sae")
"""Of the nodes that take a concept away."""


def also_found_as(*words: str) -> dict[str, Any]:
    """What to hand `io.Schema` so that the search finds a node under `words`; nothing on a host without such words."""
    takes_words = any(field.name == "search_aliases" for field in fields(io.Schema))
    return {"search_aliases": list(words)} if takes_words else {}
