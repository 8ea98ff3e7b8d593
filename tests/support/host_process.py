"""The host's own modules in this process, on the CPU, and the fixtures of tests that use them.

To be imported by a conftest, before anything of the host is. Without a host this raises: nothing is skipped.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from support.host_graph import load_feature_set, load_sae
from tools.host.unpack import host_path
from tools.pack import pack as import_from_pack

__all__ = ["cats", "inference", "miniature", "pack", "sae"]

# First, so that `nodes`, `server` and `utils` are the host's.
sys.path.insert(0, str(host_path()))

import utils  # noqa: F401 - before other libraries that have a module of that name
from comfy.cli_args import args

# Before anything else of the host is imported: its device and its folders are chosen at import.
args.cpu = True
args.base_directory = tempfile.mkdtemp(prefix="comfyui-tests-")
for _name in ("custom_nodes", "models", "input", "output", "user", "temp"):
    (Path(args.base_directory) / _name).mkdir()
atexit.register(shutil.rmtree, args.base_directory, ignore_errors=True)


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    """The pack, loaded as the host loads it: by its path, as a package of another name.

    Its parts are `tools.pack.pack("nodes...")` and `pack("saeuron...")`; a class of the latter is not the same object
    as that of a plain `import saeuron`.
    """
    return import_from_pack()


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Nodes run in inference mode."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def miniature(pack: ModuleType) -> tuple:
    """MODEL, CLIP, VAE."""
    with torch.inference_mode():
        return tuple(import_from_pack("nodes.load").SaeuronLoadMiniature.execute().result)


@pytest.fixture(scope="session")
def sae(pack: ModuleType):
    with torch.inference_mode():
        return load_sae()


@pytest.fixture(scope="session")
def cats(pack: ModuleType):
    return load_feature_set("miniature/cats.json")
