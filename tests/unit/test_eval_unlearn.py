"""`SAeUronPipeline` and the technique of eval-unlearn, on the miniature and on an SD 1.x pipeline of random weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import saeuron
from saeuron.edits.intervention import Intervention
from saeuron.errors import SaeuronError
from saeuron.eval_unlearn.pipeline import SAE_VARIABLE
from saeuron.eval_unlearn.technique import EditTechnique
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.reference.miniature import load_miniature
from saeuron.reference.pipeline import ReferencePipeline
from saeuron.reference.sampling import ReferenceSettings
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import Placement
from saeuron.shots import shots_of
from support.reference import random_sae
from support.tiny_pipeline import make_sd1_pipeline

ROOT = Path(__file__).parents[2]
SAES = ROOT / "saeuron" / "miniature" / "saes"
CATS = ROOT / "feature_sets" / "miniature" / "cats.json"
PROMPTS = ["a cat", "a dog"]
SAMPLING = {"num_inference_steps": 2, "guidance_scale": 1.0}


def reference() -> ReferencePipeline:
    sae = load_sae(SAES / "miniature-up_blocks.0.attentions.1.safetensors")
    return ReferencePipeline(load_miniature(), sae, ReferenceSettings(2, 1.0))


def test_importing_the_library_stays_light():
    program = "import sys, saeuron; print([m for m in ('torch', 'numpy', 'diffusers') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_it_draws_what_the_reference_path_draws():
    pipeline = saeuron.SAeUronPipeline("cats", -10.0, "miniature", "cpu", True, features=CATS)
    drawn = pipeline.generate(PROMPTS, seed=7, **SAMPLING)
    expected = reference().draw(shots_of(PROMPTS, 1, 7), [Intervention(FeatureSet.load(CATS), -10.0)])
    assert all(np.array_equal(picture, array) for picture, array in zip(drawn, expected, strict=True))
    assert drawn[0].tobytes() != pipeline.generate(PROMPTS, seed=8, **SAMPLING)[0].tobytes()


def test_the_technique_replaces_too():
    options = {"model_id": "miniature", "device": "cpu", "features": CATS, **SAMPLING}
    replacing = EditTechnique("cats", mode="replace", instead="dog", **options)
    cat, dog = map(np.asarray, replacing.generate(PROMPTS, seed=7))
    plain_cat, plain_dog = reference().draw(shots_of(PROMPTS, 1, 7))
    assert not np.array_equal(cat, plain_cat)
    assert np.array_equal(dog, plain_dog)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "erase"}, "no mode 'erase'"),
        ({"mode": "replace"}, "Say with `instead`"),
        ({"model_id": "some/model"}, "Which SAE is some/model to be edited with"),
        (
            {"features": CATS, "sae": ROOT / "saeuron/miniature/saes/miniature-mid_block.attentions.0.safetensors"},
            "SAE",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit_is_said(options, message, monkeypatch):
    monkeypatch.delenv(SAE_VARIABLE, raising=False)
    with pytest.raises(SaeuronError, match=message):
        saeuron.SAeUronPipeline("cats", **{"model_id": "miniature", "device": "cpu", **options})


def test_sd_1_is_drawn_with_its_own_text_and_without_a_safety_checker(tmp_path, monkeypatch):
    """With a scheduler that the reference path does not sample with, as SD 1.4 has it, and guidance."""
    place = Placement("sd15", "up_blocks.1.attentions.1", "output")
    save_sae(tmp_path / "sae.safetensors", random_sae(320, 16, 4, seed=0), place)
    identity = load_sae(tmp_path / "sae.safetensors").identity
    features = tuple(Feature(index, mean_concept=1.0, mean_all=0.0) for index in range(16))
    FeatureSet("cats", identity, {}, {}, (FeatureStep(None, features),)).save(tmp_path / "cats.json")
    make_sd1_pipeline(tmp_path / "vocabulary").save_pretrained(tmp_path / "sd1", safe_serialization=True)
    monkeypatch.setenv(SAE_VARIABLE, os.fspath(tmp_path / "sae.safetensors"))
    strong, weak = (
        saeuron.SAeUronPipeline("cats", multiplier, str(tmp_path / "sd1"), "cpu", features=tmp_path / "cats.json")
        for multiplier in (-3.0, 1.0)
    )
    sampling = {"num_inference_steps": 2, "guidance_scale": 3.0}
    pictures = [pipeline.generate(["a cat"], seed=1, **sampling)[0] for pipeline in (strong, weak)]
    assert pictures[0].size == (64, 64)
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert pictures[1].tobytes() != weak.generate(["two dogs"], seed=1, **sampling)[0].tobytes()
