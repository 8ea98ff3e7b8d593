"""Make the archive that a registry takes: `python -m tools.release`; see docs/releasing.md.

What is not as it should be is listed, and no archive is made.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tomllib

from saeuron.files import write_atomically
from tools.host.unpack import REPOSITORY
from tools.pin_nodes import PINNED

LARGEST = 50_000_000
"""Bytes of an archive."""

OUTPUT = REPOSITORY / "output" / "release"
_ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
_PICTURES = {"Icon": "docs/pictures/icon.png", "Banner": "docs/pictures/banner.png"}


def with_addresses(project: str, repository: str) -> str:
    """The text `project` of pyproject.toml with the addresses that follow from `repository`.

    Raises:
        ValueError: it is not like ``https://github.com/OWNER/NAME``.
    """
    repository = repository.rstrip("/").removesuffix(".git")
    if not _ADDRESS.fullmatch(repository):
        raise ValueError(f"{repository!r} is not like https://github.com/OWNER/NAME.")
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main"
    urls = {
        "Repository": repository,
        "Documentation": f"{repository}#readme",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Bug Tracker": f"{repository}/issues",
    }
    table = "[project.urls]\n" + "".join(f'"{name}" = "{url}"\n' for name, url in urls.items()) + "\n"
    project = re.sub(r"^\[project\.urls\]\n(?:[^\[\n].*\n)*\n*", "", project, flags=re.MULTILINE)
    project = project.replace("[tool.comfy]", f"{table}[tool.comfy]", 1)
    for name, path in _PICTURES.items():
        project = re.sub(rf'^{name} = ".*"$', f'{name} = "{raw}/{path}"', project, flags=re.MULTILINE)
    return project


def problems(root: Path) -> Iterator[str]:
    """What a release of the checkout at `root` still lacks."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["project"]["version"]
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        yield "Some changes are not committed."
    if not project["project"].get("urls"):
        yield "There is no [project.urls]: run `python -m tools.release --repository https://github.com/OWNER/NAME`."
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^## (\S+)[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL))
    if not entries.get(version, "").strip():
        yield f"CHANGELOG.md says nothing of version {version}."
    if entries.get("Unreleased", "").strip():
        yield "CHANGELOG.md has entries under Unreleased."
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted((root / "nodes").rglob("*.py")))
    nodes = set(re.findall(r'node_id="(Saeuron\w+)"', sources))
    pinned = set(json.loads((root / PINNED.relative_to(REPOSITORY)).read_text(encoding="utf-8")))
    if different := nodes ^ pinned:
        yield f"Run `python -m tools.pin_nodes`: {', '.join(sorted(different))}."


def packed_files(root: Path) -> list[str]:
    """The tracked files without those that ``.comfyignore`` names."""
    ignored = ["--exclude-from=.comfyignore", "--ignored", "--cached"]
    left_out = set(_git(root, "ls-files", *ignored).splitlines())
    return [name for name in _git(root, "ls-files").splitlines() if name not in left_out]


def make_archive(root: Path, archive: Path) -> None:
    """Errors: `SystemExit` if it is larger than `LARGEST`."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in packed_files(root):
            opened.write(root / name, name)
    if archive.stat().st_size > LARGEST:
        raise SystemExit(f"{archive.name} is larger than {LARGEST / 1e6:.0f} MB.")


def contents(archive: Path) -> str:
    """Files and bytes in each of the archive's folders."""
    files, sizes = Counter[str](), Counter[str]()
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            folder = entry.filename.partition("/")[0] + "/" if "/" in entry.filename else "."
            files[folder] += 1
            sizes[folder] += entry.compress_size
    lines = [f"{sizes[folder] / 1e6:8.2f} MB  {files[folder]:4}  {folder}" for folder in sorted(files)]
    return "\n".join([*lines, f"{archive.stat().st_size / 1e6:8.2f} MB  {files.total():4}  {archive.name}"])


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", help="write the addresses into pyproject.toml, and do nothing else")
    arguments = parser.parse_args()
    file = REPOSITORY / "pyproject.toml"
    if arguments.repository:
        text = with_addresses(file.read_text(encoding="utf-8"), arguments.repository)
        write_atomically(file, text.encode())
        return
    if found := list(problems(REPOSITORY)):
        raise SystemExit("\n".join(found))
    version = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"]
    archive = OUTPUT / f"saeuron-{version}.zip"
    make_archive(REPOSITORY, archive)
    print(contents(archive))


if __name__ == "__main__":
    main()
