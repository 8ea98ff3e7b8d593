"""Packages that only some parts need, and that the host does not bring."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import SaeuronError


def require(module: str, package: str, purpose: str) -> Any:
    """The module of a package that may not be installed. Errors: `SaeuronError` saying what needs it and what to do."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SaeuronError(
            f"{purpose} needs the Python package {package}, which is not installed for the Python that runs this. "
            f"Install it there: pip install {package} ({error})"
        ) from error
