"""Import the pack as ComfyUI does: as one package loaded from this folder, whatever the folder's name.

`import_host` must have made the host importable before.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
NAME = "saeuron_pack"


def pack(module: str = "") -> ModuleType:
    """The pack's root package, or a module of it such as ``nodes.host.model``."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        root = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = root
        spec.loader.exec_module(root)
    return importlib.import_module(f"{NAME}.{module}") if module else sys.modules[NAME]
