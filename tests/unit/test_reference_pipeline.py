"""The reference path on an SDXL pipeline folder, as diffusers saves one, with all parts but tiny."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from saeuron.checkpoints import LoadedSAE
from saeuron.errors import SaeuronError
from saeuron.evaluation.painting import Shot
from saeuron.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.intervention import MODES, Intervention
from saeuron.reference.models import load_sdxl
from saeuron.reference.pipeline import ReferencePipeline, ReferenceSettings
from saeuron.sae import SAEIdentity
from saeuron.selection import SelectionSettings, select_features
from support.reference import random_sae
from support.tiny_pipeline import WIDTH, make_pipeline

N, K = 32, 4
IDENTITY = SAEIdentity("", "saeuron-miniature", "up_blocks.0.attentions.1", "update", WIDTH, N, K)
SHOTS = [Shot("a cat", 1), Shot("two dogs and a tree", 2), Shot("a cat", 3)]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline")
    make_pipeline(path / "vocabulary").save_pretrained(path / "sdxl", safe_serialization=True)
    return str(path / "sdxl")


@pytest.fixture(scope="module")
def load(folder):
    models = {dtype: load_sdxl(folder, dtype=dtype, base_model="saeuron-miniature") for dtype in DTYPES}
    loaded = LoadedSAE(random_sae(WIDTH, N, K, seed=0), IDENTITY)
    return lambda dtype=torch.float32, **options: ReferencePipeline(
        models[dtype], loaded, ReferenceSettings(width=64, height=64, **options)
    )


def every_feature(factor: float, mode: str = "exact", halves: str = "both") -> Intervention:
    features = tuple(Feature(index, mean_concept=1.0, mean_all=0.0) for index in range(N))
    feature_set = FeatureSet("all", IDENTITY, {}, {}, (FeatureStep(None, features),))
    return Intervention(feature_set, factor, mode, halves=halves)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("cfg", "steps"), [(1.0, 1), (1.0, 4), (3.0, 2)])
def test_it_collects_and_draws(load, dtype, cfg, steps):
    pipeline = load(dtype, cfg=cfg, steps=steps, batch=2)
    statistics = pipeline.collect(SHOTS, "cats")
    assert len(statistics.sigmas) == steps and statistics.concept == "cats"
    plain = pipeline.draw(SHOTS)
    assert plain.shape == (3, 64, 64, 3) and plain.dtype == np.uint8
    for mode in MODES:
        assert (pipeline.draw(SHOTS, [every_feature(-3.0, mode)]) != plain).any(), mode
    assert (pipeline.draw(SHOTS) == plain).all(), "an intervention stayed in the model"


def test_a_picture_does_not_depend_on_its_batch(load):
    alone = np.concatenate([load(batch=1).draw([shot]) for shot in SHOTS]).astype(int)
    together = load(batch=3).draw(SHOTS).astype(int)
    assert np.abs(alone - together).max() <= 1
    assert (alone[0] != alone[2]).any(), "the seed does not count"


def test_an_edit_of_one_half_acts_on_that_half_alone(load):
    guided, unguided = load(cfg=3.0, steps=2), load(steps=2)
    drawn = [guided.draw(SHOTS, [every_feature(-3.0, halves=halves)]) for halves in ("both", "positive", "negative")]
    drawn.append(guided.draw(SHOTS))
    assert all((a != b).any() for i, a in enumerate(drawn) for b in drawn[:i])
    assert (unguided.draw(SHOTS, [every_feature(-3.0, halves="negative")]) == unguided.draw(SHOTS)).all()


def test_features_of_its_own_statistics_can_be_taken_away(load):
    pipeline = load(steps=2)
    concept, other = pipeline.collect(SHOTS[::2], "cats"), pipeline.collect(SHOTS[1:2], "dogs")
    feature_set = select_features(concept, other, SelectionSettings(tau=2, dead=0, overactive=1))
    assert (pipeline.draw(SHOTS, [Intervention(feature_set, -20.0)]) != pipeline.draw(SHOTS)).any()


def test_what_it_does_not_own_stays_as_it_is(folder, load):
    """The folder's files, another pipeline made from it, and the SAE that was handed in."""
    from diffusers import StableDiffusionXLPipeline

    theirs = StableDiffusionXLPipeline.from_pretrained(folder)
    draw = lambda: theirs(  # noqa: E731
        "a cat", num_inference_steps=2, guidance_scale=1.0, generator=torch.Generator().manual_seed(0),
        height=64, width=64, output_type="pt",
    ).images  # fmt: skip
    theirs.set_progress_bar_config(disable=True)
    before = draw()
    loaded = LoadedSAE(random_sae(WIDTH, N, K, seed=0), IDENTITY)
    weights = {name: tensor.clone() for name, tensor in loaded.sae.state_dict().items()}
    model = load_sdxl(folder, base_model="saeuron-miniature")
    ReferencePipeline(model, loaded, ReferenceSettings(width=64, height=64)).draw(SHOTS, [every_feature(-3.0)])
    assert torch.equal(draw(), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in theirs.unet.modules())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.sae.state_dict().items())


def test_an_sae_of_another_model_is_refused(folder):
    loaded = LoadedSAE(random_sae(WIDTH, N, K, seed=0), replace(IDENTITY, base_model="sdxl-turbo"))
    with pytest.raises(SaeuronError, match="belongs to sdxl-turbo"):
        ReferencePipeline(load_sdxl(folder), loaded, ReferenceSettings())


def test_a_folder_of_something_else_is_refused(folder):
    with pytest.raises(SaeuronError, match="no SDXL pipeline"):
        load_sdxl(f"{folder}/unet")
