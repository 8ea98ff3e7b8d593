"""The list of what the pack uses of the host is whole, and a host that lacks something is told."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.pack import ROOT
from tools.pack import pack as import_from_pack

HOST_MODULES = ("comfy", "comfy_api", "folder_paths", "latent_preview", "node_helpers")


def requirements():
    return import_from_pack("nodes.host.requirements")


def uses(path: Path) -> set[tuple[str, str]]:
    """(module, attribute) of everything a source file takes from the host; attribute chains up to two deep."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found, names = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and is_host(node.module):
            found |= {(node.module, alias.name) for alias in node.names}
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[0]: a.name.split(".")[0] for a in node.names if is_host(a.name)}
    for node in ast.walk(tree):
        chain = dotted(node)
        if chain and chain[0] in names and isinstance(node, ast.Attribute):
            full = [*names[chain[0]].split("."), *chain[1:]]
            for module in requirements().USED:
                parts = module.split(".")
                if full[: len(parts)] == parts and len(full) > len(parts):
                    found.add((module, full[len(parts)]))
                    break
            else:
                if len(full) > 2 or "." not in names[chain[0]]:
                    found.add((".".join(full[:-1]), full[-1]))
    return found


def is_host(module: str | None) -> bool:
    return module is not None and module.split(".")[0] in HOST_MODULES


def dotted(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*dotted(node.value), node.attr] if dotted(node.value) else []
    return [node.id] if isinstance(node, ast.Name) else []


def test_everything_the_source_takes_from_the_host_is_listed(pack):
    listed = {(m, name.split(".")[0]) for m, names in requirements().USED.items() for name in names}
    used = set()
    for path in [ROOT / "__init__.py", *(ROOT / "nodes").rglob("*.py")]:
        used |= {(module, name) for module, name in uses(path) if not any(m == f"{module}.{name}" for m, _ in listed)}
    assert len(used) > 20
    prefixes = {m.rsplit(".", depth)[0] for m, _ in listed for depth in range(m.count(".") + 1)}
    assert {(m, n) for m, n in used if (m, n) not in listed and f"{m}.{n}" not in prefixes} == set()


def test_this_host_has_it_all(pack):
    requirements().check_host()


@pytest.mark.parametrize(
    "used",
    [{"comfy.no_such_module": ("x",)}, {"comfy.sample": ("no_such_function",)}, {"comfy.sd": ("CLIP.no_such_method",)}],
)
def test_a_host_that_lacks_something_is_told_what(pack, monkeypatch, used):
    monkeypatch.setattr(requirements(), "USED", used)
    name = "|".join(f"{m}.{n}" if "no_such_module" not in m else m for m, names in used.items() for n in names)
    with pytest.raises(ImportError, match=rf"0\.3\.75 or newer; this is .* lacks ({name}).*Update ComfyUI"):
        requirements().check_host()


def test_a_host_that_lacks_a_package_is_told_which(pack, monkeypatch, tmp_path):
    """Updating ComfyUI would not help."""
    (tmp_path / "needs_something.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(requirements(), "USED", {"needs_something": ("x",)})
    with pytest.raises(ImportError, match=r"No module named 'no_such_package'.*requirements\.txt") as caught:
        requirements().check_host()
    assert "or newer" not in str(caught.value)


def test_what_is_used_of_newer_hosts_only_is_in_the_newest_and_not_in_the_oldest(pack):
    import importlib

    from comfyui_version import __version__

    library = requirements()
    found = {
        f"{module}.{name}": library.has(importlib.import_module(module), name)
        for module, names in library.NEWER.items()
        for name in names
    }
    expected = {library.FLOOR: False, library.NEWEST: True}
    if __version__ not in expected:
        pytest.skip(f"a host between the two: ComfyUI {__version__}")
    assert set(found.values()) == {expected[__version__]}
