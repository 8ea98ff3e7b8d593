"""The archive that a registry takes: what comfy-cli says of it, what is in it, and that a fresh ComfyUI runs it.

Without comfy-cli (in this environment, or named by ``COMFY_CLI``) its part is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from saeuron.evaluation.classifier import Classifier
from tools.demo import MULTIPLIERS
from tools.host.server import ComfyServer
from tools.pin_nodes import read_pinned
from tools.release import LARGEST, make_archive, packed_files
from tools.workflows.prompts import read_prompt, set_input

ROOT = Path(__file__).resolve().parents[2]
COMFY = os.environ.get("COMFY_CLI") or shutil.which("comfy", path=os.fspath(Path(sys.executable).parent))
needs_comfy_cli = pytest.mark.skipif(COMFY is None, reason="comfy-cli is not installed (COMFY_CLI can name it)")
LEFT_OUT = (".ci/", "tests/", "tools/")
NEEDED = {"__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "nodes/extension.py"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, because comfy-cli writes beside what it packs."""
    folder = tmp_path_factory.mktemp("clone") / "pack"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def archive(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "pack.zip"
    make_archive(checkout, path)
    return path


def names_in(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def comfy(checkout: Path, home: Path, command: str) -> str:
    """What ``comfy node COMMAND`` says, without a question and without the person's own settings."""
    environment = {**os.environ, "HOME": os.fspath(home), "XDG_CONFIG_HOME": os.fspath(home), "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [str(COMFY), "--skip-prompt", "node", command],
        cwd=checkout, env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_archive_holds_the_pack_and_nothing_of_its_making(archive: Path, checkout: Path) -> None:
    names = names_in(archive)
    assert names == set(packed_files(checkout)) and names >= NEEDED
    assert not [name for name in names if name.startswith(LEFT_OUT)]
    assert archive.stat().st_size <= LARGEST


@needs_comfy_cli
def test_comfy_cli_finds_nothing_wrong(checkout: Path, tmp_path: Path) -> None:
    assert "passed" in comfy(checkout, tmp_path, "validate")


@needs_comfy_cli
def test_comfy_cli_packs_the_same_files(archive: Path, checkout: Path, tmp_path: Path) -> None:
    comfy(checkout, tmp_path, "pack")
    packed = checkout / "node.zip"
    assert names_in(packed) - {packed.name} == names_in(archive)
    assert packed.stat().st_size <= LARGEST


def test_unpacked_into_a_fresh_comfyui_it_forgets_cats(archive: Path, tmp_path: Path) -> None:
    """The pack is read from a folder of its own: there is no checkout to lean on."""
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(unpacked)
    with ComfyServer(pack_path=unpacked) as server:
        assert set(server.object_info()) >= set(read_pinned())
        prompt = read_prompt("unlearn_miniature")
        set_input(prompt, "multiplier", MULTIPLIERS["cats"], class_type="SaeuronUnlearn")
        titles = {id_: node["_meta"]["title"] for id_, node in prompt.items()}
        drawn = {titles[id_]: output["images"][0] for id_, output in server.run(prompt).items() if "images" in output}
        before, after = (server.image(drawn[title]) for title in ("Before", "After"))
    judge = Classifier(unpacked / "saeuron" / "miniature" / "classifiers" / "objects")
    cats = judge.probabilities(np.stack([before, after]))[:, judge.labels.index("cats")]
    assert cats[0] > 0.9 and cats[1] < 0.1


def test_the_demo_passes_with_the_archive(archive: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tools.demo", "--pack", archive, "--output", tmp_path, "--concepts", "towers"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(report["concepts"]) == {"towers"}
    for figures in report["concepts"].values():
        assert figures["baseline_ua"] < 0.1 and figures["ua"] > 0.9
        assert figures["other_accuracy_after"] > figures["other_accuracy_before"] - 0.1
        assert figures["replace"]["replaced"] > 0.9 and figures["replace"]["identical_others"] > 0.8
