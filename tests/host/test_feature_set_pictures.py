"""Pictures in feature sets: put there by Save Feature Set, kept by what changes the set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tools.miniature.build_feature_sets import load_feature_set
from tools.pack import pack as import_from_pack


def node(name: str) -> Any:
    return getattr(import_from_pack("nodes.feature_sets"), name)


def folder_paths() -> Any:
    import folder_paths as module

    return module


def file_of(name: str) -> Path:
    return Path(folder_paths().models_dir) / "feature_sets" / f"{name}.json"


@pytest.fixture
def bare(cats: Any) -> Any:
    return replace(cats, picture=None)


def test_before_and_after_are_saved_in_the_set_and_loaded_with_it(pack, bare):
    before, after = torch.zeros(2, 192, 192, 3), torch.ones(1, 192, 192, 4)
    before[1] = 0.5  # only the first picture counts
    output = node("SaeuronSaveFeatureSet").execute(bare, "pictures/cats", True, before, after)
    found = node("SaeuronLoadFeatureSet").execute("pictures/cats.json", "").result[0]
    assert replace(found, picture=None) == bare
    pixels = found.picture.pixels()
    assert pixels[:, :180].max() < 10 and pixels[:, -180:].min() > 245
    (text,) = output.ui.as_dict()["text"]
    assert "picture before and after" in text and found.picture.to_text() not in text

    node("SaeuronSaveFeatureSet").execute(found, "pictures/again", True)
    assert json.loads(file_of("pictures/again").read_text())["picture"] == found.picture.to_text()
    node("SaeuronSaveFeatureSet").execute(bare, "pictures/bare", True)
    assert "picture" not in json.loads(file_of("pictures/bare").read_text())


def test_loading_a_set_shows_its_picture(pack, bare):
    node("SaeuronSaveFeatureSet").execute(bare, "pictures/none", True)
    assert list(node("SaeuronLoadFeatureSet").execute("pictures/none.json", "").ui.as_dict()) == ["text"]

    pictured = {"before": torch.zeros(1, 64, 64, 3), "after": torch.ones(1, 64, 64, 3)}
    node("SaeuronSaveFeatureSet").execute(bare, "pictures/shown", True, **pictured)
    for chosen in (("pictures/shown.json", ""), ("pasted JSON", file_of("pictures/shown").read_text())):
        output = node("SaeuronLoadFeatureSet").execute(*chosen)
        assert output.ui["text"][0].startswith("cats: 10 features")
        (shown,) = output.ui["images"]
        assert shown["type"] == "temp"
        with Image.open(Path(folder_paths().get_temp_directory(), shown["subfolder"], shown["filename"])) as picture:
            assert (np.asarray(picture) == output.result[0].picture.pixels()).all()


def test_one_picture_alone_is_not_enough(pack, bare):
    for given, missing in (
        ({"before": torch.zeros(1, 8, 8, 3)}, "after"),
        ({"after": torch.zeros(1, 8, 8, 3)}, "before"),
    ):
        with pytest.raises(ValueError, match=f"{missing} is not connected"):
            node("SaeuronSaveFeatureSet").execute(bare, "pictures/half", True, **given)
    assert not file_of("pictures/half").exists()


def test_a_calibrated_set_keeps_its_picture(miniature, sae):
    library = import_from_pack("saeuron.features.before_after")
    picture = library.BeforeAfter.of(*np.zeros((2, 32, 32, 3), np.uint8))
    cats = load_feature_set("cats", sae.identity.hookpoint)
    cats = replace(cats, picture=picture, detector=replace(cats.detector, reads=""))
    execute = import_from_pack("nodes.calibrate").SaeuronCalibrateDetector.execute
    settings = {"sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 2, "cfg": 1.0, "seed": 5}
    found = execute(*miniature[:2], sae, cats, "a cat\ntwo cats", 2, width=128, height=128, **settings).result[0]
    assert found.picture == picture and found.detector.reads == "word"
