"""Metadata for a registry, README and help pages: complete, and nothing named in them that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomllib
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HELP = ROOT / "web" / "docs"
PAGES = [ROOT / "README.md", *sorted(HELP.glob("*.md"))]
DOCUMENTS = [
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "saeuron").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:docs|nodes|saeuron|tests|tools|web)/[\w./-]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LARGEST_PICTURE, ALL_PICTURES = 150_000, 1_600_000  # bytes

HOST_PACKAGES = {"numpy", "safetensors", "torch", "transformers"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def node_names() -> dict[str, str]:
    """Id -> the name that a person sees."""
    pattern = re.compile(r'node_id="(Saeuron\w+)",\s*display_name="([^"]+)"')
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py")]
    return {id_: name for source in sources for id_, name in pattern.findall(source)}


def test_the_project_is_named_as_a_registry_demands() -> None:
    project: dict[str, Any] = PROJECT["project"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,98}", project["name"]) and "comfyui" not in project["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert 20 < len(project["description"]) < 200
    assert (ROOT / project["license"]["file"]).is_file()
    assert "Operating System :: OS Independent" in project["classifiers"]


def test_nothing_that_is_asked_for_can_replace_a_package_of_the_host() -> None:
    """The host gets requirements.txt. What pip needs besides for the library alone has no bounds, so that whatever the
    host has will do, also for tools that read pyproject.toml."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for_host = {line for line in lines if line.strip() and not line.startswith("#")}
    assert not {package_name(line) for line in for_host} & HOST_PACKAGES
    asked = set(PROJECT["project"]["dependencies"])
    assert for_host <= asked
    assert asked - for_host <= HOST_PACKAGES, "named, and nothing but named"


def package_name(requirement: str) -> str:
    return re.split(r"[<>=!~ \[;@]", requirement)[0]


def test_the_section_for_the_host_is_complete() -> None:
    comfy = PROJECT["tool"]["comfy"]
    assert comfy["PublisherId"] and comfy["DisplayName"]
    assert comfy["requires-comfyui"] == ">=0.3.75"


def picture_of(key: str) -> Path:
    """Also where who publishes the pack has put the address of the repository's files before it."""
    return ROOT / re.sub(r"^https://raw\.githubusercontent\.com/[^/]+/[^/]+/[^/]+/", "", PROJECT["tool"]["comfy"][key])


@pytest.mark.parametrize(("key", "size"), [("Icon", (400, 400)), ("Banner", (1260, 540))])
def test_icon_and_banner_are_there_in_their_shapes(key: str, size: tuple[int, int]) -> None:
    with Image.open(picture_of(key)) as picture:
        assert (picture.format, picture.size) == ("PNG", size)


@pytest.mark.parametrize("page", [*PAGES, *DOCUMENTS], ids=lambda page: page.name)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    return path.exists() and (not anchor or anchor in anchors_of(path))


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *DOCUMENTS], ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    named = PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_link_to_a_file_or_a_heading_that_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# How it *works*\n", encoding="utf-8")
    assert leads_somewhere(page, "#how-it-works") and leads_somewhere(page, "page.md#how-it-works")
    assert not leads_somewhere(page, "#how-it-fails") and not leads_somewhere(page, "gone.md")


def test_what_makes_sense_of_a_checkout_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(text in readme for text in ("git clone", "make demo", "make test", 'pip install ".[reference]"'))


def test_every_node_has_a_help_page_with_a_picture_of_it() -> None:
    assert {path.stem for path in HELP.glob("*.md")} == set(node_names())
    for id_ in node_names():
        assert f"(pictures/{id_}.png)" in (HELP / f"{id_}.md").read_text(encoding="utf-8")


def test_every_picture_is_used_and_small() -> None:
    used = {
        (page.parent / target).resolve() for page in PAGES for target in LINK.findall(page.read_text(encoding="utf-8"))
    }
    used |= {picture_of(key).resolve() for key in ("Icon", "Banner")}
    pictures = [*(HELP / "pictures").iterdir(), *(ROOT / "docs" / "pictures").iterdir()]
    assert set(pictures) <= used
    sizes = [picture.stat().st_size for picture in pictures]
    assert max(sizes) <= LARGEST_PICTURE and sum(sizes) <= ALL_PICTURES


def test_the_readme_lists_every_node() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Nodes", 1)[1].split("\n## ", 1)[0]
    listed = set(re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)) - {"Node", "---"}
    assert listed == set(node_names().values())
