"""What the names of the folders that an SAE lies in say of it."""

from __future__ import annotations

import re
from pathlib import Path

_SDXL_UNBOX = re.compile(r"_k(?P<k>\d+)_hidden(?P<n_dirs_local>\d+)(?=_|/|$)")


def names_of(folder: Path) -> str:
    """The names of `folder` and two parents, innermost first; then, if it is a link, those of where it leads to."""
    paths = (folder, folder.resolve())
    return "/".join(part.name for path in paths for part in (path, *path.parents[:2]))


def config_in_names(folder: Path) -> dict[str, int]:
    """What sdxl-unbox's trainer names a folder after; empty for other names.

    Its config.json says, of all that what a code means depends on, these and the shape of the weights.
    """
    match = _SDXL_UNBOX.search(names_of(folder))
    return {name: int(value) for name, value in match.groupdict().items()} if match else {}
