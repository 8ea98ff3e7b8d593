"""These tests run against the host's own modules, in this process, on the CPU."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from tools.host import REPOSITORY, host_path

# First, so that `nodes`, `server` and `utils` are the host's. Without a host this raises: nothing is skipped.
sys.path.insert(0, str(host_path()))

from comfy.cli_args import args  # noqa: E402

# Before anything else of the host is imported: its device and its folders are chosen at import.
args.cpu = True
args.base_directory = tempfile.mkdtemp(prefix="comfyui-tests-")
for _name in ("custom_nodes", "models", "input", "output", "user", "temp"):
    (Path(args.base_directory) / _name).mkdir()
atexit.register(shutil.rmtree, args.base_directory, ignore_errors=True)

PACK = "saeuron_pack"


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    """The pack, loaded as the host loads it: by its path, as a package of another name.

    Its parts are `saeuron_pack.nodes...` and `saeuron_pack.saeuron...` for importlib.import_module; a class of the
    latter is not the same object as that of a plain `import saeuron`.
    """
    if PACK not in sys.modules:
        spec = importlib.util.spec_from_file_location(PACK, REPOSITORY / "__init__.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACK] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[PACK]
            raise
    return sys.modules[PACK]
