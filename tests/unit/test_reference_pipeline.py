"""The reference path on an SDXL pipeline with all parts but tiny: from a folder, and one that somebody has already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from saeuron.__main__ import main
from saeuron.edits.intervention import MODES, Intervention
from saeuron.edits.when import When
from saeuron.errors import SaeuronError
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.selection import SelectionSettings, select_features
from saeuron.reference.models import load_model, model_of
from saeuron.reference.pipeline import ReferencePipeline
from saeuron.reference.sampling import ReferenceSettings
from saeuron.sae.files import LoadedSAE, save_sae
from saeuron.sae.formats import Placement
from saeuron.sae.model import SAEIdentity
from saeuron.shots import Shot
from support.reference import random_sae
from support.tiny_pipeline import WIDTH, make_pipeline

N, K = 32, 4
PLACE = ("saeuron-miniature", "up_blocks.0.attentions.1", "update")  # whose UNet is as wide as this one
IDENTITY = SAEIdentity("", *PLACE, WIDTH, N, K)
SHOTS = [Shot("a cat", 1), Shot("two dogs and a tree", 2), Shot("a cat", 3)]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline")
    make_pipeline(path / "vocabulary").save_pretrained(path / "sdxl", safe_serialization=True)
    return str(path / "sdxl")


@pytest.fixture(scope="module")
def models(folder):
    return {dtype: load_model(folder, dtype=dtype) for dtype in DTYPES}


def random_loaded_sae() -> LoadedSAE:
    return LoadedSAE(random_sae(WIDTH, N, K, seed=0), IDENTITY)


@pytest.fixture(scope="module")
def load(models):
    """A `ReferencePipeline` of the folder."""
    loaded = random_loaded_sae()
    return lambda dtype=torch.float32, **options: ReferencePipeline(models[dtype], loaded, ReferenceSettings(**options))


def every_feature(factor: float, mode: str = "exact", halves: str = "both") -> Intervention:
    features = tuple(Feature(index, mean_concept=1.0, mean_all=0.0) for index in range(N))
    feature_set = FeatureSet("all", IDENTITY, {}, {}, (FeatureStep(None, features),))
    return Intervention(feature_set, factor, mode, when=When(halves=halves))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("cfg", "steps"), [(1.0, 1), (3.0, 2)])
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


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_it_collects_every_token_of_every_step_of_the_positive_half(load, cfg):
    statistics = load(steps=3, cfg=cfg, batch=2).collect(SHOTS)
    tokens = (64 // 8 // 4) ** 2  # the block's map is a quarter as wide as the latent
    assert statistics.images.tolist() == [3, 3, 3]
    assert statistics.tokens.tolist() == [3 * tokens] * 3
    assert statistics.sampling["cfg"] == cfg and statistics.sampling["width"] == 64


def test_the_negative_prompt_matters_above_cfg_1_only(load):
    for cfg, alike in ((1.0, True), (3.0, False)):
        pictures = [load(steps=2, cfg=cfg, negative=negative).draw(SHOTS[:1]) for negative in ("", "a red house")]
        assert np.array_equal(*pictures) == alike


def test_pictures_need_not_be_square(load):
    assert load(steps=1, width=96, height=32).draw(SHOTS[:1]).shape == (1, 32, 96, 3)


def test_the_scheduler_of_sdxl_turbo_draws_the_same_twice(models):
    """It adds noise on the way."""
    from diffusers import EulerAncestralDiscreteScheduler

    model = models[torch.float32]
    ancestral = replace(model, scheduler=EulerAncestralDiscreteScheduler.from_config(model.scheduler.config))
    pipeline = ReferencePipeline(ancestral, random_loaded_sae(), ReferenceSettings(steps=3))
    drawn = pipeline.draw(SHOTS)
    assert np.array_equal(drawn, pipeline.draw(SHOTS))
    assert not np.array_equal(drawn, pipeline.draw(SHOTS, [every_feature(-3.0)]))


def test_the_command_line_takes_the_folder(folder, tmp_path, capsys):
    save_sae(tmp_path / "sae.safetensors", random_loaded_sae().sae, Placement(*PLACE))
    (tmp_path / "cats.txt").write_text("a cat\n")
    words = ["collect", tmp_path / "cats.txt", "--output", tmp_path / "cats.st", "--model", folder]
    words += ["--sae", tmp_path / "sae.safetensors", "--steps", "2", "--dtype", "bfloat16"]
    assert main([str(word) for word in words]) == 0
    assert "features fire on 1 prompts" in capsys.readouterr().out


def drawn_by(pipe) -> torch.Tensor:
    """What the pipeline itself draws, by its own means."""
    generator = torch.Generator().manual_seed(3)
    return pipe("a cat", num_inference_steps=2, guidance_scale=3.0, output_type="pt", generator=generator).images


def traces_on(pipe) -> list[str]:
    """Whatever hangs on its modules and weights, and the settings that a run changes."""
    found = [str(pipe.scheduler.timesteps.tolist())]
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        for name, module in getattr(pipe, part).named_modules():
            hooks = [key for key, value in vars(module).items() if key.endswith("_hooks") and value]
            found.append(f"{part}.{name}: {type(module).__name__}, {sorted(vars(module))}, {hooks}, {module.training}")
        found += [f"{n}: {p.dtype}, {p.requires_grad}" for n, p in getattr(pipe, part).named_parameters()]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_pipeline_that_somebody_has_stays_as_it_is(tmp_path, dtype):
    pipe = make_pipeline(tmp_path).to(dtype)
    pipe.set_progress_bar_config(disable=True)
    before = drawn_by(pipe)
    weights, traces = list(pipe.unet.parameters()), traces_on(pipe)
    reference = ReferencePipeline(model_of(pipe), random_loaded_sae(), ReferenceSettings(steps=3, cfg=3.0))
    assert not np.array_equal(reference.draw(SHOTS), reference.draw(SHOTS, [every_feature(-3.0)]))
    assert traces_on(pipe) == traces
    assert all(a is b for a, b in zip(weights, pipe.unet.parameters(), strict=True))
    assert torch.equal(drawn_by(pipe), before)


def test_its_weights_are_shared_so_that_a_change_of_them_is_seen(tmp_path):
    pipe = make_pipeline(tmp_path)
    reference = ReferencePipeline(model_of(pipe), random_loaded_sae(), ReferenceSettings(steps=1))
    before = reference.draw(SHOTS[:1])
    pipe.unet.conv_out.weight.data.mul_(-1)
    assert not np.array_equal(before, reference.draw(SHOTS[:1]))


def test_an_sae_of_another_dtype_is_used_and_not_changed(models):
    loaded = random_loaded_sae()
    loaded.sae.half()
    weights = {name: tensor.clone() for name, tensor in loaded.sae.state_dict().items()}
    pipeline = ReferencePipeline(models[torch.float32], loaded, ReferenceSettings(steps=1))
    assert not np.array_equal(pipeline.draw(SHOTS), pipeline.draw(SHOTS, [every_feature(-3.0)]))
    for name, tensor in loaded.sae.state_dict().items():
        assert tensor.dtype == torch.float16 and torch.equal(tensor, weights[name])
        assert pipeline.loaded.sae.state_dict()[name].dtype == torch.float32


def test_an_sae_that_fits_already_is_not_copied(models):
    loaded = random_loaded_sae()
    assert ReferencePipeline(models[torch.bfloat16], loaded, ReferenceSettings()).loaded.sae is loaded.sae


def test_an_sae_of_another_model_is_refused(models):
    loaded = LoadedSAE(random_sae(WIDTH, N, K, seed=0), replace(IDENTITY, base_model="sdxl-turbo"))
    with pytest.raises(SaeuronError, match="belongs to sdxl-turbo"):
        ReferencePipeline(models[torch.float32], loaded, ReferenceSettings())


def test_a_scheduler_of_another_kind_is_refused(models):
    from diffusers import DDIMScheduler

    model = models[torch.float32]
    stranger = replace(model, scheduler=DDIMScheduler.from_config(model.scheduler.config))
    with pytest.raises(SaeuronError, match=r"has a DDIMScheduler; expected one of Euler.*from_config"):
        ReferencePipeline(stranger, random_loaded_sae(), ReferenceSettings())


def test_a_folder_of_something_else_is_refused(folder):
    with pytest.raises(SaeuronError, match=r"no SDXL or SD 1\.x pipeline"):
        load_model(f"{folder}/unet")
