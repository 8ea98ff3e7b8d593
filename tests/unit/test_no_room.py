"""A disk that is full and a folder that is read-only: a message, and what was there before stays as it was."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saeuron.errors import SaeuronError
from saeuron.sae.files import save_sae
from saeuron.sae.formats import Placement
from support.reference import random_sae
from tools.bench.soak import kills

SAE = random_sae(64, 2048, 4, seed=1)  # a MiB
PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")
WRITERS: dict[str, Callable[[Path], object]] = {
    "feature set": kills.feature_set(2).save,
    "statistics": kills.statistics(2).save,
    "SAE": lambda path: save_sae(path, SAE, PLACE),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 64 KiB, and a file in it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    try:
        (folder / "old").write_bytes(b"old")
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def refuse(disk: Path, writer: str, reason: str) -> None:
    for name in ("old", "new", "folder/new"):
        with pytest.raises(SaeuronError, match=f"{Path(name).name} can't be written to .*: {reason}.*Nothing was") as e:
            WRITERS[writer](disk / name)
        assert isinstance(e.value.__cause__, OSError)
    assert [path for path in disk.rglob("*") if path.is_file()] == [disk / "old"]
    assert (disk / "old").read_bytes() == b"old"


@pytest.mark.parametrize("writer", WRITERS)
def test_disk_full(disk: Path, writer: str) -> None:
    refuse(disk, writer, "No space left on device")


@pytest.mark.parametrize("writer", WRITERS)
def test_read_only(disk: Path, writer: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refuse(disk, writer, "Read-only file system")


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_where_a_folder_should_be(tmp_path: Path, writer: str) -> None:
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(SaeuronError, match="can't be written to"):
        WRITERS[writer](tmp_path / "folder" / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
