"""Where the ComfyUI is that this pack lies in, if it does. Nothing of it is imported here."""

from __future__ import annotations

import os
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]


def comfyui_folder() -> Path | None:
    """``COMFYUI_PATH``, or the folder in whose custom_nodes this pack lies; None where there is neither."""
    if named := os.environ.get("COMFYUI_PATH"):
        return Path(named).expanduser()
    return PACK.parents[1] if PACK.parent.name == "custom_nodes" else None
