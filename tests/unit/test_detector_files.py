"""A feature set's detector on file: everything comes back, sets without one are read, what can't be is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from saeuron.errors import SaeuronError
from saeuron.features.detector import DEFAULT, Detector, PictureGate
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from support.codes import SAE

CATS = FeatureSet("cats", SAE, {}, {}, (FeatureStep(None, (Feature(0),)),))
DETECTING = replace(CATS, detector=Detector(3, 0.25, 14.6, (29, 30), (1, 60), 0.99, "word"))


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(CATS.to_json()), **changes}


def test_detector_is_read_and_written() -> None:
    text = DETECTING.to_json()
    assert json.loads(text)["detector"] == {
        "at_least": 3, "gate": 0.25, "sigma": 14.6, "true_positives": [29, 30],
        "false_positives": [1, 60], "auc": 0.99, "reads": "word",
    }  # fmt: skip
    assert FeatureSet.from_json(text).detector_or_default == DETECTING.detector


PICTURES = PictureGate(1.6, 0.02, (19, 20), (3, 400))


def test_the_gate_for_pictures_is_read_and_written() -> None:
    assert DETECTING.detector is not None
    both = replace(DETECTING, detector=replace(DETECTING.detector, pictures=PICTURES))
    text = both.to_json()
    assert json.loads(text)["detector"]["pictures"] == {
        "sigma": 1.6, "gate": 0.02, "true_positives": [19, 20], "false_positives": [3, 400],
    }  # fmt: skip
    assert FeatureSet.from_json(text) == both
    assert "in pictures 19 of 20, by mistake 3 of 400" in both.detector_or_default.describe()


def test_without_a_detector_the_default_counts() -> None:
    old = document(version="1.0")
    assert "detector" not in old
    found = FeatureSet.from_json(json.dumps(old))
    assert found.detector is None and found.detector_or_default == DEFAULT
    assert (DEFAULT.at_least, DEFAULT.gate) == (2, 0.05)


def test_only_what_decides_must_be_in_a_detector() -> None:
    found = FeatureSet.from_json(json.dumps(document(detector={"at_least": 1, "gate": 0, "author": "x"})))
    assert found.detector == Detector(1, 0)


WRONG = {
    "detector": (document(detector=[3]), "'detector' must be an object, found [3]"),
    "detector null": (document(detector=None), "'detector' must be an object, found None"),
    "detector empty": (document(detector={}), "lacks at_least and gate"),
    **{
        f"detector {name} {value!r}": (
            document(detector={"at_least": 2, "gate": 0.05, name: value}),
            f"detector's {name}",
        )
        for name, values in {
            "at_least": (0, 1001, 2.0, True, "2", None, 10**30),
            "gate": (-0.1, 1.1, "0", None, True, 10**30),
            "sigma": (0, -1, "1"),
            "true_positives": (3, [3], [4, 3], [-1, 3], [1, 2, 3], ["1", 2], [1.0, 2], [True, 2]),
            "false_positives": ({}, [4, 3]),
            "auc": (1.1, -1, "1"),
            "reads": ("neither", 3, None, ["word"]),
        }.items()
        for value in values
    },
}


GATE = {"sigma": 1.6, "gate": 0.02, "true_positives": [19, 20], "false_positives": [3, 400]}
WRONG |= {
    f"pictures {what}": (document(detector={"at_least": 2, "gate": 0.05, "pictures": pictures}), message)
    for what, pictures, message in (
        ("a list", [3], "pictures must be an object, found [3]"),
        ("null", None, "pictures must be an object, found None"),
        ("empty", {}, "pictures lack false_positives, gate, sigma, true_positives"),
        ("without a gate", {name: value for name, value in GATE.items() if name != "gate"}, "pictures lack gate"),
        ("at noise 0", {**GATE, "sigma": 0}, "picture sigma must be a noise level above 0"),
        ("a gate above 1", {**GATE, "gate": 1.5}, "picture gate must be a number from 0 to 1"),
        ("more than all", {**GATE, "true_positives": [21, 20]}, "picture true_positives must be two counts"),
        ("null counts", {**GATE, "false_positives": None}, "picture false_positives must be two counts"),
    )
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_detectors_are_named(name: str) -> None:
    value, message = WRONG[name]
    with pytest.raises(SaeuronError) as caught:
        FeatureSet.from_json(json.dumps(value), "cats.json")
    assert message in str(caught.value)
    assert "cats.json" in str(caught.value)
