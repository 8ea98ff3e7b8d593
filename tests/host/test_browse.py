"""Browse Feature Sets over the host's folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.pack import pack as import_from_pack

SHIPPED = 52


@pytest.fixture
def own(pack: object) -> Iterator[Path]:
    """A folder of the user's feature sets, gone afterwards."""
    import folder_paths

    folder = Path(folder_paths.models_dir) / "feature_sets" / "browsed"
    folder.mkdir(parents=True)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def node() -> Any:
    return import_from_pack("nodes.browse").SaeuronBrowseFeatureSets


def browse(filter: str = "", base_model: str = "any") -> tuple[Any, list[str]]:
    sheet, table = node().execute(filter, base_model).result
    return sheet, table.splitlines()


def test_all_shipped_sets_are_on_one_sheet(pack):
    output = node().execute("", "any")
    sheet, table = output.result
    shipped = [line for line in table.splitlines() if line.startswith(("miniature/", "sdxl-turbo/"))]
    assert len(shipped) == SHIPPED
    assert (
        "miniature/up_blocks.1.attentions.0/cats.json: cats, saeuron-miniature, up_blocks.1.attentions.0, finds 40"
        in table
    )
    assert sheet.shape[0] == 1 and sheet.shape[3] == 3 and 0 <= sheet.min() < sheet.max() <= 1
    assert len(output.ui.as_dict()["images"]) == 1


def test_filter_and_base_model_leave_others_out(pack):
    assert {line.split(":")[0] for line in browse("cats")[1] if "browsed" not in line} >= {
        "miniature/cats.json", "miniature/up_blocks.1.attentions.0/cats.json", "sdxl-turbo/cats.json",
    }  # fmt: skip
    turbo = browse(base_model="sdxl-turbo")[1]
    assert {line.split(":")[0] for line in turbo} == {"sdxl-turbo/cats.json", "sdxl-turbo/towers.json"}
    assert [line.split(":")[0] for line in browse("cats", "sdxl-turbo")[1]] == ["sdxl-turbo/cats.json"]
    with pytest.raises(ValueError, match="matches 'zebra cats'"):
        browse("zebra cats")


def test_new_files_come_first_and_broken_ones_stop_nothing(own, cats):
    before = node().fingerprint_inputs(filter="", base_model="any")
    library = import_from_pack("saeuron.features.before_after")
    picture = library.BeforeAfter.of(*np.zeros((2, 32, 32, 3), np.uint8))
    replace(cats, picture=picture, concept="whiskers").save(own / "good.json")
    assert node().fingerprint_inputs(filter="", base_model="any") != before
    text = (own / "good.json").read_text()
    broken = {
        "empty.json": "",
        "binary.json": "\0" * 100,
        "picture.json": text.replace(picture.to_text(), "A" * 40),
        "newer.json": text.replace('"version": "1.2"', '"version": "9.0"'),
    }
    for name, content in broken.items():
        (own / name).write_text(content)
    sheet, lines = browse()
    files = [line.split(":")[0] for line in lines]
    assert files.index("browsed/good.json") < files.index("miniature/cats.json")
    assert "whiskers" in lines[files.index("browsed/good.json")]
    for name in broken:
        assert ": can't be read. " in lines[files.index(f"browsed/{name}")]
    assert "no JPEG that can be read" in lines[files.index("browsed/picture.json")]
    assert len(lines) >= SHIPPED + len(broken) + 1
    assert browse("browsed", "sdxl-turbo")[1] == [line for line in browse("browsed")[1] if "can't be read" in line]
    assert browse("browsed")[0].shape[1] < sheet.shape[1]


def test_more_sets_than_fit_are_named(own, cats, monkeypatch):
    module = import_from_pack("nodes.browse")
    monkeypatch.setattr(module, "MOST", 2)
    for number in range(3):
        cats.save(own / f"{number}.json")
    said = []
    monkeypatch.setattr(module, "send_text", lambda text, _node: said.append(text))
    sheet, lines = browse("browsed")
    assert len(lines) == 3 and "only the first 2 are drawn" in said[0]
    monkeypatch.setattr(module, "MOST", 100)
    assert (browse("browsed")[0] != sheet).any()
