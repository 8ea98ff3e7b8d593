"""Finding, listing, seeing and comparing, on the real miniature."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support.host_graph import Shot, sample, steer, unlearn
from tools.pack import pack as import_from_pack

SETTINGS = {
    "sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 2, "cfg": 1.0,
    "width": 128, "height": 128, "seed": 5,
}  # fmt: skip
SAE_FILE = "miniature-up_blocks.0.attentions.1.safetensors"


def node(module, name):
    return getattr(import_from_pack(f"nodes.{module}"), name)


def find(miniature, sae, prompt="a cat in twemoji style", count=5, pictures=1, **changes):
    execute = node("find", "SaeuronFindFeatures").execute
    model, clip, _ = miniature
    return execute(model, clip, sae, prompt, count, pictures, **{**SETTINGS, **changes}).result


def heat(miniature, sae, feature_set, model=None, view="summed", **changes):
    execute = node("heatmap", "SaeuronFeatureHeatmap").execute
    base, clip, vae = miniature
    settings = {**SETTINGS, **changes}
    return execute(model or base, clip, vae, sae, feature_set, "a cat in twemoji style", view, **settings).result


def test_the_strongest_features_of_a_picture(miniature, sae):
    feature_set, table = find(miniature, sae)
    features = feature_set.steps[0].features
    means = [f.mean_concept for f in features]
    assert len(features) == 5 and means == sorted(means, reverse=True) and means[-1] > 0
    assert feature_set.sae == sae.identity and str(features[0].index) in table
    feature_set.check_sae(sae.identity)
    other, _ = find(miniature, sae, seed=6, pictures=2)
    assert [f.mean_concept for f in other.steps[0].features] != means


def test_features_of_a_painted_region_fire_more_inside(miniature, sae):
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    (features,) = (step.features for step in find(miniature, sae, mask=mask)[0].steps)
    assert all(f.score > 0 and f.mean_concept > f.mean_all > 0 for f in features)
    with pytest.raises(ValueError, match="fills none"):
        find(miniature, sae, mask=torch.zeros(128, 128))


def test_found_features_unlearn(miniature, sae):
    feature_set, _ = find(miniature, sae)
    by_index = node("find", "SaeuronFeaturesByIndex").execute
    chosen = by_index(sae, ", ".join(str(f.index) for f in feature_set.steps[0].features), "mine").result[0]
    model = miniature[0]
    plain = sample(miniature, model, Shot())
    for given in (feature_set, chosen):
        assert not torch.equal(sample(miniature, unlearn(model, sae, given, rule="zero"), Shot()), plain)
    with pytest.raises(ValueError, match="without their mean activations"):
        unlearn(model, sae, chosen)
    with pytest.raises(ValueError, match="the SAE ends at"):
        by_index(sae, "99999999", "mine")


def test_a_heat_map_shows_the_picture_and_where_features_fire(miniature, sae):
    feature_set, _ = find(miniature, sae)
    overlays, picture, mask, table = heat(miniature, sae, feature_set)
    assert overlays.shape[0] == 1 and overlays.shape[3] == 3 and overlays.min() >= 0 and overlays.max() <= 1
    assert picture.shape == (1, 128, 128, 3)
    assert mask.shape == (1, 128, 128) and float(mask.max()) == pytest.approx(1, abs=0.2) and mask.min() >= 0
    latent = sample(miniature, miniature[0], Shot())
    assert torch.equal(picture, miniature[2].decode(latent)), "it is the picture that KSampler draws"
    assert all(f"{f.index}: " in table for f in feature_set.steps[0].features)
    assert len(heat(miniature, sae, feature_set, view="per feature")[0]) == 5
    assert len(heat(miniature, sae, feature_set, view="per step")[0]) == SETTINGS["steps"]


def test_a_heat_map_of_an_unlearned_model_shows_what_is_left(miniature, sae):
    """Features that are steered up everywhere must show, those that are steered far down must be gone."""
    feature_set, _ = find(miniature, sae, count=1)
    (feature,) = feature_set.steps[0].features

    def total(model):
        table = heat(miniature, sae, feature_set, model)[3]
        return float(table.splitlines()[-1].split(": ")[1].split(",")[0])

    before = total(miniature[0])
    assert total(steer(miniature[0], sae, f"{feature.index}: -1000")) < before
    assert total(steer(miniature[0], sae, f"{feature.index}: 50")) > before
    patched = unlearn(miniature[0], sae, feature_set, rule="zero")
    edited = heat(miniature, sae, feature_set, patched)[1]
    latent = sample(miniature, patched, Shot())
    assert torch.equal(edited, miniature[2].decode(latent)), "the picture is the edited model's"


def test_a_heat_map_needs_the_features_own_sae(miniature, sae, cats):
    with pytest.raises(ValueError, match="another SAE"):
        heat(miniature, sae, replace(cats, sae=replace(cats.sae, sha256="0" * 64)))


def test_examples_come_best_first(miniature, sae):
    feature = find(miniature, sae, count=1)[0].steps[0].features[0].index
    execute = node("heatmap", "SaeuronFeatureExamples").execute
    prompts = "a cat\na tower\n# not this\na dog"
    grid, table = execute(*miniature, sae, feature, prompts, 2, **SETTINGS).result
    assert grid.shape[0] == 1 and grid.shape[3] == 3
    strengths = [float(line.split("  ")[0]) for line in table.splitlines()[1:]]
    assert len(strengths) == 2 and strengths == sorted(strengths, reverse=True)
    for bad, message in (({"prompts": "# none"}, "no prompts"), ({"feature": 99999999}, "the SAE ends at")):
        arguments = {"feature": feature, "prompts": prompts, **bad}
        with pytest.raises(ValueError, match=message):
            execute(*miniature, sae, arguments["feature"], arguments["prompts"], 2, **SETTINGS)


def test_a_report_has_a_picture_for_each_step(sae, cats):
    execute = node("feature_report", "SaeuronFeatureReport").execute
    charts, table = execute(cats).result
    assert charts.shape[0] == len(cats.steps) and charts.std() > 0.01
    labelled = sae._replace(labels={cats.steps[0].features[0].index: "whiskers"})
    assert "whiskers" in execute(cats, labelled).result[1] and "whiskers" not in table
    two = replace(cats, steps=tuple(replace(cats.steps[0], sigma=sigma) for sigma in (9.0, 1.0)))
    assert execute(two).result[0].shape[0] == 2
    with pytest.raises(ValueError, match="another SAE"):
        execute(replace(cats, sae=replace(cats.sae, n=999999)), sae)


def test_labels_beside_an_sae_are_loaded_and_shown(miniature, saes_folder, sae, cats):
    load = node("load", "SaeuronLoadSAE")
    target = saes_folder / "labelled.safetensors"
    shutil.copy(import_from_pack("nodes.host.folders").find_sae(SAE_FILE), target)
    index = cats.steps[0].features[0].index
    before = load.fingerprint_inputs("labelled.safetensors")
    labels = saes_folder / "labelled.labels.json"
    labels.write_text(json.dumps({str(index): "whiskers"}), encoding="utf-8")
    try:
        assert load.fingerprint_inputs("labelled.safetensors") != before
        labelled = load.execute("labelled.safetensors", *["from file"] * 3).result[0]
        assert labelled.labels == {index: "whiskers"}
        acts = {"start_percent": 0.0, "end_percent": 1.0, "halves": "both"}
        execute = node("unlearn", "SaeuronUnlearn").execute
        output = execute(miniature[0], labelled, cats, -20.0, "exact", "gamma-mu", **acts)
        assert "(whiskers)" in output.ui.as_dict()["text"][0]
        labels.write_text('{"x": 1}', encoding="utf-8")
        with pytest.raises(ValueError, match=r"labelled\.labels\.json"):
            load.execute("labelled.safetensors", *["from file"] * 3)
    finally:
        target.unlink()
        labels.unlink()


@pytest.fixture
def saes_folder(pack: object) -> Path:
    """Where a user's SAEs lie."""
    import folder_paths

    path = Path(folder_paths.models_dir) / "saes"
    path.mkdir(exist_ok=True)
    return path


def test_before_and_after_in_one_picture(pack):
    compare = node("compare", "SaeuronCompare")
    before, after = torch.rand(2, 64, 64, 3), torch.rand(2, 64, 64, 3)
    output = compare.execute(before, after, "Before", "After")
    (comparison,) = output.result
    assert comparison.shape[0] == 2 and comparison.shape[2] > 128
    assert torch.allclose(comparison[:, -64:, :64], before, atol=1 / 255)
    assert torch.allclose(comparison[:, -64:, -64:], after, atol=1 / 255)
    assert len(output.ui.as_dict()["images"]) == 2
    with pytest.raises(ValueError, match="Before is 64 x 64"):
        compare.execute(before, torch.rand(2, 96, 64, 3), "", "")
