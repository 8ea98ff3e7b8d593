"""The library as pip installs it: what is in the wheel, and that it draws where there is no checkout and no ComfyUI."""

from __future__ import annotations

import json
import zipfile
from email import message_from_bytes
from pathlib import Path

import tomllib

from support.installing import python_with, run

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LARGEST_WHEEL = 45_000_000  # bytes; nearly all of it is the miniature's weights


def test_the_wheel_holds_the_library_whole_and_nothing_else(wheel: Path, tracked: list[str]) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == {n for n in tracked if n.startswith("saeuron/")}
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_the_wheel_says_what_the_project_says(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(opened.read(name))
    assert (metadata["Name"], metadata["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    asked = metadata.get_all("Requires-Dist") or []
    assert {line for line in asked if "extra ==" not in line} == set(PROJECT["dependencies"])
    assert set(metadata.get_all("Provides-Extra") or []) == set(PROJECT["optional-dependencies"])


def test_installed_elsewhere_it_reproduces_the_experiment_without_comfyui(wheel: Path, tmp_path: Path) -> None:
    python = python_with(tmp_path / "environment", wheel)
    where = run(python, "-c", "import saeuron; print(saeuron.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(tmp_path / "environment")
    assert "reproduce" in run(python, "-m", "saeuron", "--help", cwd=tmp_path)
    words = ("reproduce", "--miniature", "--images", "1", "--json")
    found = json.loads(run(python, "-m", "saeuron", *words, cwd=tmp_path))
    assert set(found) == {"cats", "towers"}
    for concept in found.values():
        assert len(concept["features"]) == 5
        assert all(point["unlearning_accuracy"] in (0, 1) for point in concept["points"])
        similar = [point["clip_similarity"] for point in concept["points"] if point["multiplier"] is not None]
        assert all(-1 <= similarity <= 1 for similarity in similar) and similar[0] > similar[-1]


def test_an_editable_install_runs_from_the_checkout(source: Path, tmp_path: Path) -> None:
    python = python_with(tmp_path / "environment", "--editable", source)
    program = "import saeuron.miniature.loading as m; print(m.PROMPTS_FOLDER.is_dir(), m.__file__)"
    there, where = run(python, "-c", program, cwd=tmp_path).split(maxsplit=1)
    assert there == "True" and Path(where.strip()).is_relative_to(source)
    assert "reproduce" in run(python, "-m", "saeuron", "--help", cwd=tmp_path)
