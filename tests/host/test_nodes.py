"""What a person gets wrong at the graph: each time a clear message, and nothing is changed or written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support.host_graph import Shot, sample, unlearn
from tools.pack import pack as import_from_pack

FROM_FILE = ["from file"] * 3


def node(name, module):
    return getattr(import_from_pack(f"nodes.{module}"), name)


def collect(miniature, sae, prompts, **changes):
    settings = {
        "sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 2,
        "cfg": 1.0, "width": 128, "height": 128, "seed": 3,
    }  # fmt: skip
    model, clip, _ = miniature
    execute = node("SaeuronCollectStatistics", "statistics").execute
    return execute(model, clip, sae, prompts, **{**settings, **changes}).result[0]


def select(concept, others, **changes):
    settings = {"concept": "cats", "tau": 5, "per_step": False, "dead": 0.01, "overactive": 0.99, "rate_unit": "image"}
    return node("SaeuronSelectFeatures", "feature_sets").execute(concept, others, **{**settings, **changes})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", "no SAE named 'missing.safetensors'.*models/saes.*miniature-up"),
        ("../weights/unet.safetensors", r"\.\."),
        ("..\\weights\\unet.safetensors", r"\.\."),
        ("/etc/passwd", "passwd"),
        ("C:\\weights\\x.safetensors", "C:"),
    ],
)
def test_names_that_are_no_sae(pack, name, message):
    with pytest.raises(ValueError, match=message):
        node("SaeuronLoadSAE", "load").execute(name, *FROM_FILE)


def test_a_corrupt_sae(pack):
    import folder_paths

    path = Path(folder_paths.models_dir) / "saes" / "corrupt.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match=r"corrupt\.safetensors is not a readable"):
        node("SaeuronLoadSAE", "load").execute("corrupt.safetensors", *FROM_FILE)
    path.unlink()


def test_an_sae_is_loaded_again_when_its_file_changes(pack):
    import folder_paths

    fingerprint = node("SaeuronLoadSAE", "load").fingerprint_inputs
    path = Path(folder_paths.models_dir) / "saes" / "changing.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"one")
    first = fingerprint(sae_name="changing.safetensors", hookpoint="from file")
    assert first == fingerprint(sae_name="changing.safetensors", hookpoint="from file")
    path.write_bytes(b"other")
    assert first != fingerprint(sae_name="changing.safetensors", hookpoint="from file")
    path.unlink()


def test_folders_of_others_stay_registered(pack, monkeypatch):
    import folder_paths

    folders = import_from_pack("nodes.host.folders")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "saes", (["/elsewhere"], {".bin"}))
    folders.register_folders()
    folders.register_folders()
    paths, extensions = folder_paths.folder_names_and_paths["saes"]
    assert paths[0] == "/elsewhere" and len(paths) == len(set(paths)) == 3
    assert extensions >= {".bin", ".safetensors"}


def test_a_model_that_is_no_unet(miniature, sae, cats):
    class Other(torch.nn.Module):
        pass

    class Model:
        def get_model_object(self, _name):
            return Other()

    with pytest.raises(ValueError, match="is a Other, not a Stable Diffusion UNet"):
        unlearn(Model(), sae, cats)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "0" * 64),
        ("n", 999999),
        ("hookpoint", "mid_block.attentions.0"),
        ("kind", "output"),
        ("base_model", "sdxl-turbo"),
    ],
)
def test_a_feature_set_of_another_sae(miniature, sae, cats, field, value):
    other = replace(cats, sae=replace(cats.sae, **{field: value}))
    with pytest.raises(ValueError, match=f"another SAE .*{field}.*The connected SAE is saeuron-miniature"):
        unlearn(miniature[0], sae, other)
    assert miniature[0].get_attachment("saeuron") is None


@pytest.mark.parametrize("change", [{"hookpoint": "down_blocks.1.attentions.0", "d": 128}, {"d": 999}])
def test_an_sae_recorded_at_a_place_of_another_width(miniature, sae, change):
    wrong = sae._replace(identity=replace(sae.identity, **change))
    find_site = import_from_pack("nodes.host.unet").find_site
    if change["d"] == 999:
        with pytest.raises(ValueError, match=r"width 999, but up_blocks\.0\.attentions\.1 of this MODEL is 192 wide"):
            find_site(miniature[0], wrong.identity)
    else:
        assert find_site(miniature[0], wrong.identity).module == "input_blocks.4.1"


def test_an_unknown_hookpoint_lists_the_known_ones(miniature, sae):
    wrong = replace(sae.identity, hookpoint="up_blocks.9.attentions.9")
    with pytest.raises(ValueError, match=r"up_blocks\.0\.attentions\.1"):
        import_from_pack("nodes.host.unet").find_site(miniature[0], wrong)


@pytest.mark.parametrize("prompts", ["", "  \n\n", "# a comment\n#another"])
def test_no_prompts(miniature, sae, prompts):
    with pytest.raises(ValueError, match="no prompts"):
        collect(miniature, sae, prompts)


def test_statistics_select_and_unlearn_on_the_real_model(miniature, sae):
    concept = collect(miniature, sae, "a cat\na cat in crayon style\n# not this\na small cat")
    others = collect(miniature, sae, "a dog\na tower\na tree\na fish")
    assert (concept.prompts, others.prompts) == (3, 4)
    assert (concept.tokens == 3 * 16).all(), "each picture has 4 x 4 tokens at this block"
    output = select(concept, others)
    feature_set = output.result[0]
    assert feature_set.concept == "cats" and len(feature_set.steps[0].features) == 5
    assert "mean in concept" in output.ui.as_dict()["text"][0]
    model = miniature[0]
    assert not torch.equal(
        sample(miniature, unlearn(model, sae, feature_set), Shot()), sample(miniature, model, Shot())
    )


def test_statistics_see_only_the_conditional_half(miniature, sae):
    """At cfg 1 there is one half; at cfg 2 the first step's conditional half sees the same latent."""
    plain, guided = (collect(miniature, sae, "a cat", steps=1, cfg=cfg) for cfg in (1.0, 2.0))
    assert torch.equal(plain.tokens, guided.tokens)
    assert torch.allclose(plain.total, guided.total, rtol=1e-3, atol=1e-3)


def test_collecting_leaves_the_model_as_it_was(miniature, sae):
    model = miniature[0]
    plain = sample(miniature, model, Shot())
    first = collect(miniature, sae, "a cat\na dog")
    assert torch.equal(collect(miniature, sae, "a cat\na dog").total, first.total)
    assert torch.equal(sample(miniature, model, Shot()), plain)


def test_tau_larger_than_what_is_left_says_how_many_are(miniature, sae):
    concept, others = collect(miniature, sae, "a cat"), collect(miniature, sae, "a dog")
    with pytest.raises(ValueError, match=r"tau asks for 5000 features, but only \d+ are left"):
        select(concept, others, tau=5000)


def test_start_after_end(miniature, sae, cats):
    with pytest.raises(ValueError, match="swap them"):
        unlearn(miniature[0], sae, cats, start_percent=0.6, end_percent=0.4)


def test_feature_sets_are_saved_outside_the_pack_and_never_lost(pack, cats):
    import folder_paths

    save, load = node("SaeuronSaveFeatureSet", "feature_sets"), node("SaeuronLoadFeatureSet", "feature_sets")
    save.execute(cats, "mine/cats", False)
    path = Path(folder_paths.models_dir) / "feature_sets" / "mine" / "cats.json"
    assert load.execute("mine/cats.json", "").result[0] == cats
    assert load.execute("pasted JSON", path.read_text()).result[0] == cats
    before = path.read_bytes()
    with pytest.raises(ValueError, match="exists already"):
        save.execute(replace(cats, concept="dogs"), "mine/cats", False)
    assert path.read_bytes() == before
    save.execute(replace(cats, concept="dogs"), "mine/cats", True)
    assert json.loads(path.read_text())["concept"] == "dogs"


@pytest.mark.parametrize(
    "name", ["../outside", "..\\outside", "/tmp/outside", "C:\\outside", "a/../../outside", "con", ""]
)
def test_a_name_that_leaves_its_folder_is_refused(pack, cats, name):
    import folder_paths

    def files():
        return sorted(Path(folder_paths.models_dir).parent.rglob("*.json"))

    before = files()
    with pytest.raises(ValueError):
        node("SaeuronSaveFeatureSet", "feature_sets").execute(cats, name, True)
    assert files() == before and not Path("/tmp/outside.json").exists()


@pytest.mark.parametrize("text", ["", "not json", "{}", '{"format": "saeuron-feature-set", "version": "9.0"}'])
def test_pasted_text_that_is_no_feature_set(pack, text):
    with pytest.raises(ValueError):
        node("SaeuronLoadFeatureSet", "feature_sets").execute("pasted JSON", text)


def test_shipped_sdxl_turbo_sets_are_indices_only_and_say_so(pack):
    for concept, indices in (("cats", (2208, 3483, 566, 1696, 3111)), ("towers", (1101, 4197, 5003, 500, 3176))):
        feature_set = node("SaeuronLoadFeatureSet", "feature_sets").execute(f"sdxl-turbo/{concept}.json", "").result[0]
        assert tuple(f.index for f in feature_set.steps[0].features) == indices
        assert not feature_set.has_means and "seed" in feature_set.note
