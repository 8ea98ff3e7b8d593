"""Packs in folders of any name, and packs that can't be imported; each has a ComfyUI of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.host.server import ComfyServer, ServerError
from tools.pin_nodes import read_pinned


@pytest.mark.parametrize("name", ["pack with spaces", "saeuron-päck-漢字-1.0"])
def test_the_pack_loads_from_a_folder_of_any_name(name: str) -> None:
    with ComfyServer(pack_name=name) as server:
        assert set(server.object_info()) >= set(read_pinned())
        assert server.run({
            "1": {"class_type": "SaeuronLoadFeatureSet",
                  "inputs": {"feature_set_name": "miniature/cats.json", "json": ""}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        })  # fmt: skip


def test_pack_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("raise RuntimeError('for the test')", encoding="utf-8")
    with pytest.raises(ServerError, match="RuntimeError: for the test"):
        ComfyServer(pack_path=tmp_path, pack_name="Päck-mit.Punkt").__enter__()


def test_folder_of_any_name_is_loaded_through_its_link(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text(
        "from .part import Node\nNODE_CLASS_MAPPINGS = {'HarnessNode': Node}\n", encoding="utf-8"
    )
    (tmp_path / "part.py").write_text(
        "class Node:\n    INPUT_TYPES = lambda: {'required': {}}\n    RETURN_TYPES = ()\n    FUNCTION = 'run'\n",
        encoding="utf-8",
    )
    (tmp_path / "example_workflows").mkdir()
    (tmp_path / "example_workflows" / "first.json").write_text("{}", encoding="utf-8")
    with ComfyServer(pack_path=tmp_path, pack_name="Comfy-Päck 脳") as server:
        assert "HarnessNode" in server.object_info()
        assert server.get("/workflow_templates") == {"Comfy-Päck 脳": ["first"]}
        assert server.import_seconds() < 5
