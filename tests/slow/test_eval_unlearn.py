"""eval-unlearn's own runner on the library as pip installs it; its report is kept in output/eval-unlearn.

Without eval-unlearn these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from saeuron.edits.intervention import Intervention
from saeuron.edits.replace import Replacement
from saeuron.evaluation.classifier import Classifier
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.prompts import read_prompts
from saeuron.reference.miniature import load_miniature
from saeuron.reference.pipeline import ReferencePipeline
from saeuron.reference.replacing import ReferenceReplacement
from saeuron.reference.sampling import ReferenceSettings
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import Placement
from saeuron.shots import shots_of
from support.installing import python_with, run
from support.reference import random_sae
from support.tiny_pipeline import make_sd1_pipeline

pytest.importorskip("eval_unlearn")

ROOT = Path(__file__).resolve().parents[2]
MINIATURE = ROOT / "saeuron" / "miniature"
OUTPUT = ROOT / "output" / "eval-unlearn"
CATS = ROOT / "feature_sets" / "miniature" / "cats.json"
JUDGE = MINIATURE / "classifiers" / "objects"
CONCEPTS = ("cats", "dogs")
MULTIPLIER, STEPS, SEED = -20.0, 8, 7
PROMPTS = 4  # of each concept
BATCH = 3  # so that the two halves do not fall into batches of their own

BENCHMARK = """
import json, sys
from eval_unlearn.runners import SingleBenchmarkRunner
print(json.dumps(SingleBenchmarkRunner(**json.loads(sys.argv[1])).run()["metric_result"]))
"""
TECHNIQUE = """
import sys
from eval_unlearn.registry import get_technique
from eval_unlearn.registry.entrypoints import load_entrypoints
load_entrypoints()
technique = get_technique("saeuron")(
    erase_concept="cat", multiplier=float(sys.argv[1]), device="cpu", num_inference_steps=2, guidance_scale=3.0
)
technique.generate(["a cat"], seed=1)[0].save(sys.argv[2])
"""


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_with(tmp_path_factory.mktemp("eval-unlearn") / "environment", wheel)


def held_out(concept: str) -> list[str]:
    return read_prompts(MINIATURE / "prompts" / "heldout" / f"{concept}.txt")[:PROMPTS]


EDITS = {
    "exact": ({"multiplier": MULTIPLIER}, lambda cats: Intervention(cats, MULTIPLIER)),
    "replace": ({"instead": "dog"}, lambda cats: ReferenceReplacement(Replacement(cats), "a cat", "a dog")),
}
"""Mode -> its options in a configuration, and the same edit in Python."""


def expected_counts(mode: str) -> tuple[int, int]:
    """Pictures of each concept in which our own runner finds dogs likelier than cats.

    The runner hands every batch the same seed.
    """
    prompts = [prompt for concept in CONCEPTS for prompt in held_out(concept)]
    pipeline = ReferencePipeline(
        load_miniature(),
        load_sae(MINIATURE / "saes" / "miniature-up_blocks.0.attentions.1.safetensors"),
        ReferenceSettings(STEPS, 1.0),
    )
    edits = [EDITS[mode][1](FeatureSet.load(CATS))]
    batches = [prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH)]
    judge = Classifier(JUDGE)
    drawn = np.concatenate([pipeline.draw(shots_of(batch, 1, SEED), edits) for batch in batches])
    cats, dogs = judge.probabilities(drawn)[:, [judge.labels.index(concept) for concept in CONCEPTS]].T
    kept = dogs > cats
    return int(kept[:PROMPTS].sum()), int(kept[PROMPTS:].sum())


@pytest.mark.parametrize("mode", EDITS)
def test_its_runner_and_ours_come_to_the_same_figures(python: Path, tmp_path: Path, mode: str) -> None:
    for concept in CONCEPTS:
        lines = ["prompt", *(json.dumps(prompt) for prompt in held_out(concept))]
        (tmp_path / f"{concept}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    output = OUTPUT / mode
    shutil.rmtree(output, ignore_errors=True)
    benchmark = {
        "technique_name": "saeuron_edit",
        "metric_name": "saeuron_ua_ira",
        "technique_config": {
            "erase_concept": "cat",
            "mode": mode,
            **EDITS[mode][0],
            "model_id": "miniature",
            "device": "cpu",
            "features": str(CATS),
            "num_inference_steps": STEPS,
            "guidance_scale": 1.0,
        },
        "metric_config": {
            "classifier": str(JUDGE),
            "target_concept": "cats",
            "retain_concept": "dogs",
            "target_prompts_path": str(tmp_path / "cats.csv"),
            "retain_prompts_path": str(tmp_path / "dogs.csv"),
            "batch_size": BATCH,
        },
        "output_dir": str(output),
        "seed": SEED,
    }
    found = json.loads(run(python, "-c", BENCHMARK, json.dumps(benchmark), cwd=tmp_path).splitlines()[-1])
    details, (target, retain) = found["details"], expected_counts(mode)
    assert (details["target_correct"], details["retain_correct"]) == (target, retain)
    assert (details["target_total"], details["retain_total"]) == (PROMPTS, PROMPTS)
    assert found["value"] == pytest.approx((target + retain) / 2 / PROMPTS)
    assert list(output.rglob("*_report.json"))


def test_its_own_technique_runs_unchanged_on_our_library(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for SD 1.4 by name; what lies under that name in the hub's cache is a tiny pipeline of random weights."""
    snapshot = tmp_path / "hub" / "models--CompVis--stable-diffusion-v1-4" / "snapshots" / ("a" * 40)
    make_sd1_pipeline(tmp_path / "vocabulary").save_pretrained(snapshot, safe_serialization=True)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40, encoding="utf-8")
    sae = tmp_path / "sae.safetensors"
    save_sae(sae, random_sae(320, 16, 4, seed=0), Placement("sd15", "up_blocks.1.attentions.1", "output"))
    features = tuple(Feature(index, mean_concept=1.0, mean_all=0.0) for index in range(16))
    FeatureSet("cat", load_sae(sae).identity, {}, {}, (FeatureStep(None, features),)).save(tmp_path / "cat.json")
    monkeypatch.setenv("HF_HUB_CACHE", os.fspath(tmp_path / "hub"))
    monkeypatch.setenv("SAEURON_SAE", os.fspath(sae))
    monkeypatch.setenv("SAEURON_FEATURES", os.fspath(tmp_path / "cat.json"))
    for multiplier in ("-20", "1"):
        run(python, "-c", TECHNIQUE, multiplier, tmp_path / f"{multiplier}.png", cwd=tmp_path)
    drawn = [(tmp_path / f"{multiplier}.png").read_bytes() for multiplier in ("-20", "1")]
    assert drawn[0] != drawn[1]
