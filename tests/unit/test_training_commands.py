"""Recording activations and training SAEs from the command line, on the miniature."""

from __future__ import annotations

import json

import pytest

from saeuron.__main__ import main
from saeuron.cli.options import MINIATURE_SAE
from saeuron.features.statistics import ActivationStatistics
from saeuron.reference.activations import DrawnActivations
from saeuron.reference.miniature import load_miniature
from saeuron.reference.pipeline import ReferencePipeline
from saeuron.reference.sampling import ReferenceSettings
from saeuron.sae.files import load_sae
from saeuron.sae.hookpoints import hookpoints_of
from saeuron.shots import endless_shot
from support.tiny_pipeline import make_pipeline, make_sd1_pipeline

MID, UP = "mid_block.attentions.0", "up_blocks.0.attentions.1"
PROMPTS = [f"a {thing} in crayon style" for thing in ("cat", "dog", "tower", "tree")]
QUICK = ("--width", "64", "--height", "64", "--steps", "2", "--hookpoints", UP, MID)


@pytest.fixture
def run(capsys):
    def call(*words: object):
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return json.loads(out) if status == 0 else err

    return call


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(f"{prompt.split()[1]} | {prompt}" for prompt in PROMPTS))
    return file


@pytest.fixture(scope="module")
def drawn():
    settings = ReferenceSettings(steps=2, width=64, height=64, batch=3)
    labels = [prompt.split()[1] for prompt in PROMPTS]
    return DrawnActivations(
        load_miniature(), settings, "saeuron-miniature", "update", [UP, MID], PROMPTS, labels, seed=5
    )


def test_every_prompt_comes_once_before_one_comes_again():
    shots = [endless_shot(PROMPTS, 7, number) for number in range(12)]
    assert [shot.seed for shot in shots] == list(range(7, 19))
    for start in (0, 4, 8):
        assert {shot.prompt for shot in shots[start : start + 4]} == set(PROMPTS)


def test_what_is_read_is_what_the_sae_sees(drawn):
    """The codes of the activations that are read are those that the pipeline collects."""
    found = drawn.read([0, 1, 2, 3])
    assert {name: tuple(tokens.shape) for name, tokens in found.items()} == {UP: (4, 2, 4, 192), MID: (4, 2, 4, 192)}
    loaded = load_sae(MINIATURE_SAE)
    pipeline = ReferencePipeline(load_miniature(), loaded, ReferenceSettings(steps=2, width=64, height=64, batch=3))
    statistics = pipeline.collect([drawn.shot(picture) for picture in range(4)])
    ours = ActivationStatistics(loaded.identity, drawn.sigmas)
    for step, sigma in enumerate(drawn.sigmas):
        ours.add(sigma, loaded.sae.encode(found[UP][:, step]))
    # In float16, which may change which feature is the last of the k largest.
    difference = (ours.total - statistics.total).abs().sum() / statistics.total.sum()
    assert difference < 0.01, difference
    assert drawn.label(2) == drawn.shot(2).prompt.split()[1]
    assert not found[UP].is_inference()


def test_the_loss_that_an_sae_recovers(drawn):
    """Next to all by the shipped SAE, and nothing by one that always gives its bias."""
    sae = load_sae(MINIATURE_SAE).sae
    assert 0.5 < drawn.loss_recovered(UP, sae, range(3)) <= 1.05
    sae.encoder.bias[:] = -1e6
    assert drawn.loss_recovered(UP, sae, range(3)) == pytest.approx(0, abs=1e-9)


def test_recorded_and_drawn_activations_train_alike(run, prompts, tmp_path):
    sizes = ("--n", 64, "--k", 4, 6, "--training-steps", 20, "--tokens", 64, "--evaluate-every", 10, "--held-out", 6)
    recorded = run("record", prompts, "--output", tmp_path / "kept", "--pictures", 14, "--labelled", *QUICK, "--json")
    assert recorded["shards"] == 1 and recorded["widths"] == {UP: 192, MID: 192}
    whole = (*sizes, "--pictures", 8, "--json")
    stored = run("train", "--activations", tmp_path / "kept", "--output", tmp_path / "a", *whole)
    drawn = run("train", prompts, "--labelled", "--output", tmp_path / "b", *QUICK, *whole)
    assert stored["saes"].keys() == drawn["saes"].keys() and len(stored["saes"]) == 4
    for name, figures in drawn["saes"].items():
        assert 0 < figures["unexplained"] < 1.5 and len(figures["unexplained_by_step"]) == 2
        assert figures["features_a_token"] <= 6 and figures["loss_recovered"] is not None
        sae, identity, *_ = load_sae(tmp_path / "b" / f"saeuron-miniature-{name}.safetensors")
        assert identity.kind == "update" and sae.n == 64
    assert json.loads((tmp_path / "b" / "figures.json").read_text()) == drawn["saes"]
    prompts.write_text(f"{prompts.read_text()}\nbird | a bird")
    told = run("train", prompts, "--labelled", "--output", tmp_path / "b", *QUICK, *whole)
    assert "other settings (prompts differ)" in told


def test_of_recorded_hookpoints_those_are_trained_that_are_asked_for(run, prompts, tmp_path):
    run("record", prompts, "--output", tmp_path / "kept", "--pictures", 9, "--labelled", *QUICK, "--json")
    sizes = ("--n", 64, "--k", 4, "--training-steps", 3, "--tokens", 32, "--pictures", 4, "--held-out", 4, "--json")
    train = ("train", "--activations", tmp_path / "kept", "--output", tmp_path / "out", *sizes, "--hookpoints")
    trained = run(*train, MID)
    assert [name.partition("_topk")[0] for name in trained["saes"]] == [MID]
    missing = "up_blocks.1.attentions.0"
    assert f"no activations of {missing}; there are those of {UP}, {MID}." in run(*train, missing)


def test_going_on_from_an_sae_is_better_than_anew(run, prompts, tmp_path):
    one = ("--hookpoints", UP, "--n", 768, "--training-steps", 3, "--tokens", 64, "--pictures", 9, "--held-out", 6)
    warm, cold = (
        run("train", prompts, *QUICK[:-3], *one, *more, "--output", tmp_path / str(len(more)), "--json")["saes"]
        for more in (("--start", MINIATURE_SAE), ())
    )
    (warm_figures,), (cold_figures,) = warm.values(), cold.values()
    assert warm_figures["unexplained"] < cold_figures["unexplained"]


def test_what_cannot_be_trained_on_is_told(run, prompts, tmp_path):
    assert "not both" in run("train", "--output", tmp_path)
    assert "no block" in run("train", prompts, "--output", tmp_path, "--hookpoints", "up_blocks.2.attentions.0")
    plain = tmp_path / "plain.txt"
    plain.write_text("a cat")
    assert "has no label" in run("train", plain, "--labelled", "--output", tmp_path)


@pytest.mark.parametrize(("family", "make"), [("sdxl", make_pipeline), ("sd15", make_sd1_pipeline)])
def test_every_block_of_a_model_of_that_layout(run, tmp_path, family, make):
    """In small, with random weights: all blocks in one pass."""
    from diffusers import EulerDiscreteScheduler

    pipe = make(tmp_path / "vocabulary")
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.save_pretrained(tmp_path / "model", safe_serialization=True)
    (tmp_path / "prompts.txt").write_text("cat\ntower")
    names = [hookpoint.name for hookpoint in hookpoints_of(family)]
    words = ("record", tmp_path / "prompts.txt", "--model", tmp_path / "model", "--steps", 1, "--hookpoints", *names,
             "--pictures", 9, "--output", tmp_path / "kept", "--json")  # fmt: skip
    other, name = ("sd15", "sdxl-turbo") if family == "sdxl" else ("sdxl", "sd15")
    assert f"a UNet of {family}'s layout" in run(*words, "--base-model", other)
    assert list(run(*words)["widths"]) == names
    sizes = ("--n", 16, "--k", 2, "--training-steps", 2, "--tokens", 7, "--pictures", 7, "--held-out", 2)
    found = run("train", "--activations", tmp_path / "kept", "--output", tmp_path / "saes", *sizes, "--json")["saes"]
    assert [job.split("_topk")[0] for job in found] == names
    for job, figures in found.items():
        identity = load_sae(tmp_path / "saes" / f"{name}-{job}.safetensors").identity
        assert identity.base_model == name and 0 < figures["features_a_token"] <= 2 and figures["unexplained"] > 0
