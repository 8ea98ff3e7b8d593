"""The pack as ComfyUI-Manager installs it: the registry's archive unpacked into custom_nodes, then pip, one requirement
at a time, in an environment that has what ComfyUI asks for and nothing else."""

from __future__ import annotations

import json
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.installing import run
from tools.host.server import ComfyServer, make_base
from tools.host.unpack import host_path
from tools.pin_nodes import read_pinned
from tools.release import make_archive

ROOT = Path(__file__).resolve().parents[2]
NAME = "saeuron"  # the registry's, which the Manager takes for the folder
ALSO_THE_HOST = ["requests"]  # ComfyUI 0.3.75 imports it, and had it from transformers before version 5
NEVER_CHANGED = ("torch", "torchvision", "numpy", "transformers", "safetensors")
REPORT = {
    "1": {"class_type": "SaeuronLoadFeatureSet", "inputs": {"feature_set_name": "miniature/cats.json", "json": ""}},
    "2": {"class_type": "SaeuronFeatureReport", "inputs": {"feature_set": ["1", 0]}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
}


def requirements(file: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def with_dependencies(asked: Iterable[str]) -> dict[str, Distribution]:
    """What of these is installed here, with all that they need, by name."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(line) for line in asked]
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}
        ):
            continue
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:  # torchaudio, which ComfyUI runs without
            continue
        if package.name not in found:
            found[package.name] = package
            waiting += [one for one in map(Requirement, package.requires or ()) if not _of_an_extra(one)]
    return found


def _of_an_extra(requirement: Requirement) -> bool:
    return requirement.marker is not None and "extra" in str(requirement.marker)


def link(packages: Iterable[Distribution], folder: Path) -> None:
    """Put installed packages into another environment's folder of packages."""
    for package in packages:
        for name in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / name).exists():
                (folder / name).symlink_to(Path(str(package.locate_file(name))))


def wheel(package: Distribution, folder: Path) -> None:
    """An installed package as the wheel that it was installed from."""
    tags = [line.split()[1] for line in (package.read_text("WHEEL") or "").splitlines() if line.startswith("Tag:")]
    tag = tags[-1]  # any of them; where Python 2 is among them it comes first
    name = package.name.replace("-", "_").replace(".", "_")
    with zipfile.ZipFile(folder / f"{name}-{package.version}-{tag}.whl", "w") as archive:
        for file in package.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                archive.write(Path(str(package.locate_file(file))), file.as_posix())


def versions(python: Path) -> dict[str, str]:
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json"))
    return {package["name"].lower(): package["version"] for package in listed}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of a fresh ComfyUI, without what only this pack's tests and tools need."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    link(with_dependencies([*requirements(host_path() / "requirements.txt"), *ALSO_THE_HOST]).values(), packages)
    return python


def test_it_adds_what_the_host_lacks_and_changes_nothing_else(python: Path, tmp_path: Path) -> None:
    base, archive, wheels = tmp_path / "base", tmp_path / "pack.zip", tmp_path / "wheels"
    make_archive(ROOT, archive)
    make_base(base, NAME, archive)
    asked = requirements(base / "custom_nodes" / NAME / "requirements.txt")
    before = versions(python)
    assert set(NEVER_CHANGED) <= set(before) and "matplotlib" not in before
    wheels.mkdir()
    lacking = {name: one for name, one in with_dependencies(asked).items() if name.lower() not in before}
    for package in lacking.values():
        wheel(package, wheels)
    for requirement in asked:  # nothing that the host has is in the folder: pip fails where one is to be replaced
        run(python, "-m", "pip", "install", "--no-index", "--find-links", wheels, requirement)
    after = versions(python)
    assert {name: after.get(name) for name in before} == before
    assert {"matplotlib"} <= set(after) - set(before) == {name.lower() for name in lacking}
    with ComfyServer(pack_name=NAME, pack_path=archive, base_directory=base, python=python) as server:
        assert set(server.object_info()) >= set(read_pinned())
        (entry,) = server.run(REPORT)["3"]["images"]
        assert server.image(entry).std() > 5
