from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.features.before_after import BeforeAfter
from saeuron.features.detector import Detector
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.sae.model import SAEIdentity
from support.examples import examples

N = 50
SAE = SAEIdentity("ab" * 32, "sdxl-turbo", "up_blocks.0.attentions.1", "update", d=1280, n=N, k=10)
CATS = FeatureSet(
    concept="cats",
    sae=SAE,
    sampling={"sampler": "euler", "steps": 4, "cfg": 1.0},
    selection={"tau": 2},
    steps=(FeatureStep(None, (Feature(7, 0.25, 1.5, 0.5, 0.9, 0.1), Feature(3))),),
)
SCHEDULE = replace(CATS, steps=tuple(FeatureStep(sigma, (Feature(i),)) for i, sigma in enumerate((14.6, 3.0, 0.5))))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | finite | texts
records = st.dictionaries(
    texts, scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=2), max_size=3
)
statistics = {name: st.none() | finite for name in ("score", "mean_concept", "mean_all", "rate_concept", "rate_all")}
features = st.lists(
    st.builds(Feature, st.integers(0, N - 1), **statistics), max_size=4, unique_by=lambda feature: feature.index
).map(tuple)
schedules = st.lists(st.floats(0, exclude_min=True, allow_infinity=False), min_size=1, max_size=4, unique=True).map(
    lambda sigmas: sorted(sigmas, reverse=True)
)


counts = st.tuples(st.integers(0, 99), st.integers(99, 10**6))
shares = st.floats(0, 1)
detectors = st.builds(
    Detector,
    st.integers(1, 1000),
    shares,
    sigma=st.none() | st.floats(1e-3, 1e3),
    true_positives=st.none() | counts,
    false_positives=st.none() | counts,
    auc=st.none() | shares,
    reads=st.sampled_from(["", "word", "picture", "both"]),
)


pictures = st.integers(0, 255).map(lambda v: BeforeAfter.of(*np.full((2, 8, 8, 3), v, np.uint8)))


@st.composite
def feature_sets(draw: st.DrawFn) -> FeatureSet:
    sigmas: list[Any] = draw(st.just([None]) | schedules)
    known = {"format", "version", "concept", "note", "sae", "sampling", "selection", "detector", "steps", "picture"}
    return FeatureSet(
        concept=draw(texts),
        sae=replace(SAE, sha256=draw(st.sampled_from(["", SAE.sha256]))),
        sampling=draw(records),
        selection=draw(records),
        steps=tuple(FeatureStep(sigma, draw(features)) for sigma in sigmas),
        note=draw(texts),
        detector=draw(st.none() | detectors),
        picture=draw(st.none() | pictures),
        extra={name: value for name, value in draw(records).items() if name not in known},
    )


@settings(deadline=None, max_examples=examples(100))
@given(feature_sets())
def test_json_gives_the_set_back(feature_set: FeatureSet) -> None:
    text = feature_set.to_json()
    assert FeatureSet.from_json(text) == feature_set
    assert FeatureSet.from_json(text).to_json() == text


def test_file_gives_the_set_back(tmp_path: Path) -> None:
    cats = replace(CATS, note="naïve 猫")
    cats.save(tmp_path / "new" / "cats.json")
    assert FeatureSet.load(tmp_path / "new" / "cats.json") == cats
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["cats.json"]


def test_file_is_one_people_can_read() -> None:
    assert replace(CATS, note="naïve 猫").to_json() == (
        "{\n"
        '  "format": "saeuron-feature-set",\n'
        '  "version": "1.1",\n'
        '  "concept": "cats",\n'
        '  "note": "naïve 猫",\n'
        f'  "sae": {{"sha256": "{SAE.sha256}", "base_model": "sdxl-turbo", "hookpoint": "up_blocks.0.attentions.1", '
        '"kind": "update", "d": 1280, "n": 50, "k": 10},\n'
        '  "sampling": {"sampler": "euler", "steps": 4, "cfg": 1.0},\n'
        '  "selection": {"tau": 2},\n'
        '  "steps": [\n'
        "    {\n"
        '      "sigma": null,\n'
        '      "features": [\n'
        '        {"index": 7, "score": 0.25, "mean_concept": 1.5, "mean_all": 0.5, "rate_concept": 0.9, '
        '"rate_all": 0.1},\n'
        '        {"index": 3}\n'
        "      ]\n"
        "    }\n"
        "  ]\n"
        "}\n"
    )


def document(**changes: Any) -> dict[str, Any]:
    result = {**json.loads(CATS.to_json()), **changes}
    return {name: value for name, value in result.items() if value is not ...}


def with_feature(entry: Any) -> dict[str, Any]:
    return document(steps=[{"sigma": None, "features": [entry]}])


def test_indices_alone_are_enough() -> None:
    shared = document(sampling=..., selection=..., note=..., sae={**SAE.as_dict(), "sha256": ""})
    shared["steps"] = [{"features": [{"index": 2}, {"index": 49}]}]
    found = FeatureSet.from_json(json.dumps(shared))
    assert found.steps == (FeatureStep(None, (Feature(2), Feature(49))),)
    assert (found.sampling, found.selection, found.note) == ({}, {}, "")
    assert not found.has_means


def test_unknown_fields_are_kept() -> None:
    found = FeatureSet.from_json(json.dumps(document(version="1.9", author={"name": "x"})))
    assert found.extra == {"author": {"name": "x"}}
    assert json.loads(found.to_json())["author"] == {"name": "x"}


def test_a_file_may_begin_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(CATS.to_json(), encoding="utf-8-sig")
    assert FeatureSet.load(tmp_path / "x.json") == CATS


WRONG = {
    "list": ([], "must be a JSON object"),
    "other format": (document(format="workflow"), "not a saeuron-feature-set"),
    "no format": (document(format=...), "not a saeuron-feature-set"),
    "newer": (document(version="2.0"), "Update the pack"),
    "no version": (document(version=...), "version None"),
    "no concept": (document(concept=...), "'concept' must be text, found nothing"),
    "concept": (document(concept=3), "'concept' must be text, found 3"),
    "note": (document(note=None), "'note'"),
    "no sae": (document(sae=...), "'sae' must be an object, found nothing"),
    "sae size": (document(sae={**SAE.as_dict(), "n": "50"}), "'n'"),
    "sae kind": (document(sae={**SAE.as_dict(), "kind": "input"}), "kind"),
    "sampling": (document(sampling=[]), "'sampling'"),
    "selection": (document(selection="x"), "'selection'"),
    "no steps": (document(steps=...), "'steps' must be a list, found nothing"),
    "empty steps": (document(steps=[]), "no steps"),
    "step": (document(steps=[3]), "step 0: it must be an object"),
    "no features": (document(steps=[{"sigma": None}]), "step 0: 'features' must be a list, found nothing"),
    "feature": (with_feature(7), "step 0: a feature must be an object, found 7"),
    "no index": (with_feature({"score": 1.0}), "index must be a whole number"),
    "index text": (with_feature({"index": "7"}), "index must be a whole number"),
    "index true": (with_feature({"index": True}), "index must be a whole number"),
    "index fraction": (with_feature({"index": 7.0}), "index must be a whole number"),
    "index negative": (with_feature({"index": -1}), "index must be a whole number"),
    "index n": (with_feature({"index": N}), "feature 50, but the SAE ends at 49"),
    "index huge": (with_feature({"index": 10**30}), "the SAE ends at 49"),
    "score text": (with_feature({"index": 7, "score": "high"}), "Feature 7: score must be a finite number"),
    "mean true": (with_feature({"index": 7, "mean_all": True}), "mean_all"),
    "twice": (document(steps=[{"features": [{"index": 7}, {"index": 3}, {"index": 7}]}]), "lists a feature twice"),
    "two pooled": (document(steps=[{"features": []}, {"features": []}]), "Each step needs a sigma"),
    "mixed": (document(steps=[{"sigma": 2, "features": []}, {"features": []}]), "Each step needs a sigma"),
    "ascending": (document(steps=[{"sigma": 1, "features": []}, {"sigma": 2, "features": []}]), "descending"),
    "sigma text": (document(steps=[{"sigma": "1", "features": []}]), "Each step needs a sigma"),
    "sigma zero": (document(steps=[{"sigma": 0, "features": []}]), "Each step needs a sigma"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_fields_are_named(name: str) -> None:
    value, message = WRONG[name]
    with pytest.raises(SaeuronError) as caught:
        FeatureSet.from_json(json.dumps(value), "cats.json")
    assert message in str(caught.value)
    assert "cats.json" in str(caught.value)


CATS_JSON = CATS.to_json()
HOSTILE = {
    "empty": "",
    "binary": "\0" * 1000,
    "cut short": CATS_JSON[:-20],
    "key twice": CATS_JSON.replace('"tau": 2', '"tau": 2, "tau": 3'),
    "NaN": CATS_JSON.replace("0.25", "NaN"),
    "infinity": CATS_JSON.replace("0.25", "-Infinity"),
    "overflow": CATS_JSON.replace("0.25", "1e999"),
    "integer no float can hold": CATS_JSON.replace("0.25", "9" * 400),
    "huge integer": CATS_JSON.replace("7", "7" * 1_000_000, 1),
    "deep": CATS_JSON.replace('{"tau": 2}', '{"a":' * 100_000 + "1" + "}" * 100_000),
    "many equal features": CATS_JSON.replace('{"index": 3}', ",".join(['{"index": 3}'] * 300_000)),
    "long text for a number": CATS_JSON.replace("0.25", '"' + "x" * 5_000_000 + '"'),
    "long text for a version": CATS_JSON.replace('"1.1"', '"' + "1" * 5_000_000 + '.0"'),
    "too large": CATS_JSON + " " * (16 << 20),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_quickly(name: str) -> None:
    start = time.process_time()
    with pytest.raises(SaeuronError) as caught:
        FeatureSet.from_json(HOSTILE[name])
    assert time.process_time() - start < 3
    assert len(str(caught.value)) < 500


DETECTING = replace(SCHEDULE, detector=Detector(3, 0.25, 14.6, (29, 30), (1, 60), 0.99, "word"))


@settings(deadline=None, max_examples=examples(200))
@given(st.data())
def test_any_change_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever is put in the place of any value, reading gives a feature set or a `SaeuronError`, nothing else."""
    tree = json.loads(DETECTING.to_json())
    parent: Any = tree
    while True:
        key = data.draw(st.sampled_from(list(parent) if isinstance(parent, dict) else list(range(len(parent)))))
        if not isinstance(parent[key], dict | list) or not parent[key] or data.draw(st.booleans()):
            break
        parent = parent[key]
    parent[key] = data.draw(scalars | records | st.lists(scalars, max_size=3))
    try:
        found = FeatureSet.from_json(json.dumps(tree))
    except SaeuronError:
        return
    assert FeatureSet.from_json(found.to_json()) == found


@pytest.mark.parametrize("content", [None, b"\xff\xfe{}", b" " * ((16 << 20) + 1)])
def test_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cats.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SaeuronError, match=r"cats\.json"):
        FeatureSet.load(path)


def test_records_that_are_no_json_are_refused_on_save(tmp_path: Path) -> None:
    with pytest.raises(SaeuronError, match="JSON"):
        replace(CATS, sampling={"model": object()}).save(tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sigma", "step"),
    [(100.0, 0), (14.6, 0), (7.0, 0), (6.0, 1), (3.0, 1), (1.3, 1), (1.2, 2), (0.5, 2), (0.001, 2)],
)
def test_step_is_the_nearest_by_ratio(sigma: float, step: int) -> None:
    assert SCHEDULE.at_sigma(sigma) is SCHEDULE.steps[step]
    assert CATS.at_sigma(sigma) is CATS.steps[0]


def test_one_step_with_a_sigma_is_used_everywhere() -> None:
    one = replace(SCHEDULE, steps=SCHEDULE.steps[1:2])
    assert one.at_sigma(100.0) is one.at_sigma(0.01) is one.steps[0]


def test_means_are_known_only_if_all_are() -> None:
    def has_means(*some: Feature) -> bool:
        return replace(CATS, steps=(FeatureStep(2.0, some[:1]), FeatureStep(1.0, some[1:]))).has_means

    full = Feature(1, mean_concept=0.0, mean_all=0.0)
    assert has_means(full, full)
    assert not has_means(full, replace(full, mean_all=None))
    assert not has_means(replace(full, mean_concept=None), full)


def test_marking_is_of_the_step() -> None:
    steps = (FeatureStep(2.0, (Feature(7, mean_all=0.5), Feature(3))), FeatureStep(1.0, (Feature(4, mean_all=3.0),)))
    scheduled = replace(CATS, steps=steps)
    features, thresholds = scheduled.marking(5.0)
    assert (features.tolist(), thresholds.tolist()) == ([7, 3], [0.5, 0.0])
    features, thresholds = scheduled.marking(0.1)
    assert (features.tolist(), thresholds.tolist()) == ([4], [3.0])


def test_extra_fields_can_not_replace_known_ones() -> None:
    with pytest.raises(SaeuronError, match="steps"):
        replace(CATS, extra={"steps": []})
