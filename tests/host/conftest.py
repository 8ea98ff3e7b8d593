"""These tests run against the host's own modules, in this process, on the CPU."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from support.host_graph import load_feature_set, load_sae, replace
from support.replacing import HOOKPOINT, Replacer
from tools.host.unpack import host_path
from tools.pack import pack as import_from_pack

# First, so that `nodes`, `server` and `utils` are the host's. Without a host this raises: nothing is skipped.
sys.path.insert(0, str(host_path()))

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


@pytest.fixture(scope="session")
def cat_to_dog(miniature: tuple) -> Replacer:
    """Puts Replace Concept on a MODEL, by default where it works best on the miniature."""

    def on(
        model: Any, hookpoint: str = HOOKPOINT, concept: str = "a cat", instead: str = "a dog", **options: Any
    ) -> Any:
        file = f"miniature/{hookpoint}/cats.json" if hookpoint == HOOKPOINT else "miniature/cats.json"
        loaded = load_sae(hookpoint), load_feature_set(file)
        return replace(model, miniature[1], *loaded, concept, instead, **options)

    return on


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host takes its device for one with no memory to spare, and loads nothing onto it for good; until
    `monkeypatch` is undone."""
    import comfy.model_management as host

    host.unload_all_models()
    monkeypatch.setattr(host, "is_device_cpu", lambda _device: False)
    monkeypatch.setattr(host, "vram_state", host.VRAMState.NO_VRAM)
    yield
    monkeypatch.undo()
    host.unload_all_models()
