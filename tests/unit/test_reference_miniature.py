"""Detectors on the miniature, without the host: learned from statistics, and what they read."""

from __future__ import annotations

from pathlib import Path

import pytest

from saeuron.cli.options import MINIATURE_SAE
from saeuron.features.feature_set import FeatureSet
from saeuron.features.reading import read_pictures
from saeuron.features.selection import SelectionSettings, select_features
from saeuron.reference.miniature import load_miniature
from saeuron.reference.pipeline import ReferencePipeline
from saeuron.reference.sampling import ReferenceSettings, Start
from saeuron.sae.files import load_sae
from saeuron.shots import shots_of

STYLES = ("twemoji", "gray", "crayon", "fluent")
HALFWAY = 2


@pytest.fixture(scope="module")
def pipeline():
    return ReferencePipeline(load_miniature(), load_sae(MINIATURE_SAE), ReferenceSettings(steps=4))


def of(thing: str):
    return shots_of([f"a {thing} in {style} style" for style in STYLES], 1, 11)


def test_a_detector_is_learned_from_the_statistics(pipeline):
    cats, towers = (pipeline.collect(of(thing), thing) for thing in ("cat", "tower"))
    detector = select_features(cats, towers, SelectionSettings(tau=5, dead=0, overactive=1)).detector
    assert detector is not None and detector.sigma == pipeline.sigmas[0]
    assert detector.true_positives is not None and detector.true_positives[1] == len(STYLES)
    assert detector.auc == 1


def test_the_shipped_cats_read_the_word_and_not_the_picture(pipeline):
    """Half-noised pictures, under a prompt that names nothing and under one that names cats."""
    cats = FeatureSet.load(Path(__file__).parents[2] / "feature_sets" / "miniature" / "cats.json")
    pictures, others = (Start(pipeline.sample(of(thing)), HALFWAY) for thing in ("cat", "tower"))
    neutral = shots_of(["a picture on a plain background"] * len(STYLES), 1, 31)
    sigmas = pipeline.sigmas[0], pipeline.sigmas[HALFWAY]
    seen = pipeline.codes(neutral, pictures), pipeline.codes(neutral, others)
    assert read_pictures(cats, pipeline.codes(of("cat")), *seen, *sigmas).reads == "word"
    named = pipeline.codes(of("cat"), pictures)
    assert read_pictures(cats, pipeline.codes(of("cat")), named, seen[1], *sigmas).reads == "both"
