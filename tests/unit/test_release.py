"""What a release is checked for, and the addresses made from one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import tomllib

from tools.host.unpack import REPOSITORY
from tools.pin_nodes import PINNED
from tools.release import problems, with_addresses

PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
ADDRESS = "https://github.com/owner/name"


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A checkout that can be released as 1.2.3."""
    version = tomllib.loads(PROJECT)["project"]["version"]
    text = with_addresses(PROJECT.replace(f'version = "{version}"', 'version = "1.2.3"', 1), ADDRESS)
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    changelog = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2027-01-31\n\n- Better.\n\n## 1.2.2\n\n- Good.\n"
    (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "one.py").write_text('node_id="SaeuronOne"', encoding="utf-8")
    pinned = tmp_path / PINNED.relative_to(REPOSITORY)
    pinned.parent.mkdir(parents=True)
    pinned.write_text(json.dumps({"SaeuronOne": {}}), encoding="utf-8")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_a_checkout_with_all_it_takes_is_ready(ready: Path) -> None:
    assert list(problems(ready)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("pyproject.toml", "1.2.3", "1.2.4", "says nothing of version 1.2.4"),
        ("pyproject.toml", "[project.urls]", "[tool.nothing]", "no [project.urls]"),
        ("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n- Newer.\n", "entries under Unreleased"),
        ("CHANGELOG.md", "- Better.", "", "says nothing of version 1.2.3"),
        ("nodes/one.py", "SaeuronOne", "SaeuronTwo", "pin_nodes`: SaeuronOne, SaeuronTwo"),
    ],
)
def test_what_is_missing_is_said(ready: Path, file: str, old: str, new: str, expected: str) -> None:
    path = ready / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    found = list(problems(ready))
    assert "not committed" in found[0] and any(expected in problem for problem in found[1:])


def test_all_addresses_follow_from_one_and_can_be_changed() -> None:
    moved = with_addresses(with_addresses(PROJECT, "https://github.com/other/place.git/"), ADDRESS)
    assert moved == with_addresses(PROJECT, ADDRESS)
    document = tomllib.loads(moved)
    pictures = [document["tool"]["comfy"][key] for key in ("Icon", "Banner")]
    assert all(url.startswith(ADDRESS) for url in document["project"]["urls"].values())
    for url in pictures:
        path = url.removeprefix("https://raw.githubusercontent.com/owner/name/main/")
        assert (REPOSITORY / path).is_file()


@pytest.mark.parametrize("address", ["", "github.com/owner/name", "https://example.com/owner/name"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not like"):
        with_addresses(PROJECT, address)
