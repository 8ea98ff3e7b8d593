"""Model folders as people have them: what the lists offer, where a name is looked for, and where it is saved."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from saeuron.sae.files import save_sae
from saeuron.sae.formats import Placement
from support.reference import random_sae
from tools.pack import pack as import_from_pack
from tools.sae_files import write_saelens, write_sparsify, write_unbox

FROM_FILE = ["from file"] * 3
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")


def node(name, module):
    return getattr(import_from_pack(f"nodes.{module}"), name)


@pytest.fixture
def folders(pack, monkeypatch, tmp_path):
    """The pack's folders with nothing of the user's in them; `tmp_path` is the host's models folder."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    for kind in ("saes", "feature_sets", "classifiers"):
        folder_paths.folder_names_and_paths.pop(kind, None)
        (tmp_path / "models" / kind).mkdir(parents=True)
    module = import_from_pack("nodes.host.folders")
    module.register_folders()
    return module


@pytest.fixture
def saes(folders, tmp_path):
    return tmp_path / "models" / "saes"


def listed(folders):
    import folder_paths

    folder_paths.filename_list_cache.clear()
    return [name for name in folders.list_saes() if not name.startswith("miniature-")]


def test_the_list_offers_what_loads_and_nothing_else(folders, saes, tmp_path):
    write_unbox(saes / "unet.up_blocks.0.attentions.1", 16, 32, 4)
    write_sparsify(saes / "nested" / "sparsify", 16, 32, 4)
    write_unbox(tmp_path / "disk" / "unet.mid_block.attentions.0", 16, 32, 4)
    (saes / "linked").symlink_to(tmp_path / "disk" / "unet.mid_block.attentions.0")
    upper = saes / "upper.up_blocks.0.attentions.0"
    write_unbox(upper, 16, 32, 4)
    for name in ("config.json", "state_dict.pth"):
        (upper / name).rename(upper / name.upper())
    write_unbox(saes / "tmp", 16, 32, 4)
    for name in ("config.json", "state_dict.pth"):
        (saes / "tmp" / name).rename(saes / name)
    save_sae(saes / "own.SAFETENSORS", random_sae(16, 32, 4, 0), PLACE)

    (saes / "gone.safetensors").symlink_to(tmp_path / "nothing")
    (saes / "a:b.safetensors").write_bytes((saes / "own.SAFETENSORS").read_bytes())
    write_unbox(saes / "half", 16, 32, 4)
    (saes / "half" / "config.json").unlink()
    write_sparsify(saes / "lens", 16, 32, 4)
    (saes / "lens" / "sae.safetensors").rename(saes / "lens" / "sae_best.pt")
    write_saelens(saes / "nested" / "saelens", 16, 32, 4)

    names = listed(folders)
    assert names == [
        "linked/state_dict.pth",
        "nested/saelens/sae_weights.safetensors",
        "nested/sparsify/sae.safetensors",
        "own.SAFETENSORS",
        "state_dict.pth",
        "unet.up_blocks.0.attentions.1/state_dict.pth",
        "upper.up_blocks.0.attentions.0/STATE_DICT.PTH",
    ]
    load = node("SaeuronLoadSAE", "load")
    for name in names:
        recorded = name == "own.SAFETENSORS"
        says_nothing = name in ("state_dict.pth", "nested/sparsify/sae.safetensors")
        hookpoint = "up_blocks.0.attentions.1" if says_nothing else "from file"
        placement = ("update", "sdxl-turbo") if not recorded else ("from file", "from file")
        loaded = load.execute(name, hookpoint, *placement).result[0]
        assert loaded.identity.d == 16
        folder = name.rpartition("/")[0]
        if folder:  # what workflows of earlier versions have
            assert load.execute(folder, hookpoint, *placement).result[0].identity == loaded.identity
            assert load.fingerprint_inputs(folder) == load.fingerprint_inputs(name)


@pytest.mark.parametrize("kind", ["sae", "feature_set", "classifier"])
def test_a_broken_link_is_called_one(folders, tmp_path, kind):
    (tmp_path / "models" / f"{kind}s" / "x").symlink_to(tmp_path / "disk")
    for name in ("x", "x/y.json"):
        with pytest.raises(ValueError, match=r"broken link.*disk"):
            getattr(folders, f"find_{kind}")(name)
    with pytest.raises(ValueError, match=r"can't be used as a file name"):
        getattr(folders, f"find_{kind}")("x/../y")


def test_links_lead_to_feature_sets_and_classifiers(folders, tmp_path, cats):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "cats.JSON").write_bytes(b"\xef\xbb\xbf" + cats.to_json().encode())
    (tmp_path / "models" / "feature_sets" / "shared").symlink_to(tmp_path / "disk")
    shutil.copytree(folders.find_classifier("miniature-styles"), tmp_path / "disk" / "styles")
    (tmp_path / "models" / "classifiers" / "shared").symlink_to(tmp_path / "disk")
    assert "shared/cats.JSON" in folders.list_feature_sets() and "shared/styles" in folders.list_classifiers()
    assert node("SaeuronLoadFeatureSet", "feature_sets").execute("shared/cats.JSON", "").result[0] == cats
    assert node("SaeuronLoadClassifier", "evaluation").execute("shared/styles")
    assert node("SaeuronLoadFeatureSet", "feature_sets").execute("pasted JSON", f"\ufeff{cats.to_json()}")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_pointer_in_a_classifier_is_named(folders, tmp_path, name):
    folder = tmp_path / "models" / "classifiers" / "mine"
    shutil.copytree(folders.find_classifier("miniature-styles"), folder)
    (folder / name).write_text(POINTER)
    with pytest.raises(ValueError, match=f"{name} is a Git LFS pointer"):
        node("SaeuronLoadClassifier", "evaluation").execute("mine")


def test_a_pointer_in_labels_is_named(folders, saes):
    write_unbox(saes / "unet.up_blocks.0.attentions.1", 16, 32, 4)
    (saes / "unet.up_blocks.0.attentions.1" / "labels.json").write_text(POINTER)
    with pytest.raises(ValueError, match=r"labels\.json is a Git LFS pointer"):
        node("SaeuronLoadSAE", "load").execute("unet.up_blocks.0.attentions.1", *FROM_FILE)


def changes(file: Path, fingerprint) -> None:
    """`fingerprint` stays while nothing changes, and changes with `file`'s content, or when the file goes."""
    before = fingerprint()
    assert fingerprint() == before
    file.write_bytes(file.read_bytes() + b" ")
    changed = fingerprint()
    assert changed != before
    if file.name == "labels.json":
        file.unlink()
        assert fingerprint() not in (before, changed)


@pytest.mark.parametrize("write", [write_unbox, write_sparsify])
def test_every_file_of_an_sae_is_in_its_fingerprint(folders, saes, write):
    write(saes / "mine", 16, 32, 4)
    (saes / "mine" / "labels.json").write_text("{}")
    fingerprint = node("SaeuronLoadSAE", "load").fingerprint_inputs
    found = {f.name for f in (saes / "mine").iterdir()} - {"mean.pt", "std.pt"}
    assert len(found) == 3
    for name in sorted(found):
        changes(saes / "mine" / name, lambda: fingerprint("mine"))


def test_every_file_of_a_classifier_is_in_its_fingerprint(folders, tmp_path):
    folder = tmp_path / "models" / "classifiers" / "mine"
    shutil.copytree(folders.find_classifier("miniature-styles"), folder)
    fingerprint = node("SaeuronLoadClassifier", "evaluation").fingerprint_inputs
    for file in sorted(folder.iterdir()):
        changes(file, lambda: fingerprint("mine"))


def test_a_link_that_leads_elsewhere_changes_the_fingerprint(folders, saes, tmp_path):
    for name in ("a", "b"):
        write_unbox(tmp_path / name, 16, 32, 4)
        for file in (tmp_path / name).iterdir():
            os.utime(file, ns=(1, 1))
    (saes / "mine").symlink_to(tmp_path / "a")
    before = node("SaeuronLoadSAE", "load").fingerprint_inputs("mine")
    (saes / "mine").unlink()
    (saes / "mine").symlink_to(tmp_path / "b")
    assert node("SaeuronLoadSAE", "load").fingerprint_inputs("mine") != before


@pytest.fixture(params=["none", "default", "not default", "both"])
def extra(request, folders, monkeypatch, tmp_path):
    """Extra folders read by the host's own code, before the pack; the user's folders in the host's order."""
    import folder_paths
    from comfy.cli_args import args
    from utils.extra_config import load_extra_path_config

    sections = {"default": ["first"], "not default": ["last"], "both": ["last", "first"]}.get(request.param, [])
    lines = []
    for name in sections:
        lines += [f"{name}:", f"  base_path: {tmp_path / name}", f"  is_default: {str(name == 'first').lower()}"]
        # `vae` is a kind that the host itself knows.
        lines += [f"  {kind}: {kind}" for kind in ("saes", "feature_sets", "classifiers", "vae")]
    config = tmp_path / "paths.yaml"
    config.write_text("\n".join(lines) or "{}")
    monkeypatch.setattr(args, "extra_model_paths_config", [[str(config)]])
    models = tmp_path / "models"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae", ([str(models / "vae")], set()))
    for kind in ("saes", "feature_sets", "classifiers"):
        del folder_paths.folder_names_and_paths[kind]
    load_extra_path_config(str(config))
    folders.register_folders()
    return [Path(path).parent for path in folder_paths.get_folder_paths("vae")]


def test_our_folders_have_the_order_of_the_hosts_own(folders, extra, tmp_path):
    import folder_paths

    for kind in ("saes", "feature_sets", "classifiers"):
        users = [Path(path) for path in folder_paths.get_folder_paths(kind) if Path(path).is_relative_to(tmp_path)]
        assert users == [folder / kind for folder in extra]


def test_where_a_name_is_saved_is_where_it_is_found(folders, extra, tmp_path, cats):
    """Also with sets of that name in every other folder; those that are no longer found are named."""
    for folder in extra[1:]:
        (folder / "feature_sets" / "miniature").mkdir(parents=True)
        (folder / "feature_sets" / "miniature" / "cats.json").write_text("{}")
    mine = replace(cats, concept="mine")
    output = node("SaeuronSaveFeatureSet", "feature_sets").execute(mine, "miniature/cats", False)
    saved = extra[0] / "feature_sets" / "miniature" / "cats.json"
    assert json.loads(saved.read_text())["concept"] == "mine"
    assert node("SaeuronLoadFeatureSet", "feature_sets").execute("miniature/cats.json", "").result[0] == mine
    said = output.ui.as_dict()["text"][0].splitlines()
    assert said[0] == f"Saved cats.json in {saved.parent}"
    hidden = [line for line in said if line.startswith("No longer found")]
    assert len(hidden) == len(extra)  # one in each other folder, and the pack's own
    for folder in extra[1:]:
        assert any(str(folder) in line for line in hidden)


def test_an_sae_is_taken_from_the_first_folder_that_has_it(folders, extra):
    (extra[0] / "saes" / "unet.mid_block.attentions.0").mkdir(parents=True, exist_ok=True)  # no SAE in it
    for n, folder in zip((32, 48), extra[1:], strict=False):
        write_unbox(folder / "saes" / "unet.mid_block.attentions.0", 16, n, 4)
    if extra[1:]:
        assert listed(folders) == ["unet.mid_block.attentions.0/state_dict.pth"]
        for name in ("unet.mid_block.attentions.0", "unet.mid_block.attentions.0/state_dict.pth"):
            loaded = node("SaeuronLoadSAE", "load").execute(name, *FROM_FILE)
            assert loaded.result[0].identity.n == 32


def test_what_would_not_be_found_is_not_saved(folders, monkeypatch, tmp_path, cats):
    """Somebody named the pack's own folder as the first."""
    import folder_paths

    paths, extensions = folder_paths.folder_names_and_paths["feature_sets"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "feature_sets", (paths[::-1], extensions))
    save = node("SaeuronSaveFeatureSet", "feature_sets").execute
    with pytest.raises(ValueError, match=r"would not be found.*cats\.json.*before it"):
        save(cats, "miniature/cats", True)
    assert not list((tmp_path / "models").rglob("*.json"))
    save(cats, "new", False)
    assert folders.find_feature_set("new.json") == tmp_path / "models" / "feature_sets" / "new.json"


def test_a_missing_sae_that_is_published_says_where_to_get_it(folders):
    name = "unet.up_blocks.0.attentions.1_k10_hidden5120_auxk256_bs4096_lr0.0001/final"
    with pytest.raises(
        import_from_pack("saeuron.errors").SaeuronError,
        match=r"no SAE named.*repository surokpro2/sdxl-saes.*state_dict\.pth into",
    ):
        folders.find_sae(name)


def test_what_the_list_of_missing_models_brings_is_enough(folders, saes):
    name = "unet.up_blocks.0.attentions.1_k10_hidden5120_auxk256_bs4096_lr0.0001/final"
    write_unbox(saes / name, 16, 5120, 10, with_moments=False)
    (saes / name / "config.json").unlink()
    assert listed(folders) == [f"{name}/state_dict.pth"]
    load = node("SaeuronLoadSAE", "load")
    for chosen in (name, f"{name}/state_dict.pth"):
        loaded = load.execute(chosen, *FROM_FILE)
        assert loaded.result[0].identity.k == 10
        assert "k 10 is what its folder's name says" in loaded.ui.as_dict()["text"][0]
        before = load.fingerprint_inputs(chosen)
        (saes / name / "config.json").write_text('{"n_dirs_local": 5120, "d_model": 16, "k": 7}')
        assert load.execute(chosen, *FROM_FILE).result[0].identity.k == 7 and load.fingerprint_inputs(chosen) != before
        (saes / name / "config.json").unlink()


def test_what_is_assumed_is_said_on_the_node_and_can_be_chosen_otherwise(folders, saes):
    write_unbox(saes / "unet.up_blocks.0.attentions.1", 16, 32, 4)
    save_sae(saes / "own.safetensors", random_sae(16, 32, 4, 0), PLACE)
    load = node("SaeuronLoadSAE", "load").execute
    assumed = load("unet.up_blocks.0.attentions.1", *FROM_FILE)
    assert assumed.ui.as_dict()["text"][0].startswith("Assumed, because the SAE's files do not say so")
    chosen = load("unet.up_blocks.0.attentions.1", "from file", "output", "sdxl")
    assert (chosen.result[0].identity.kind, chosen.result[0].identity.base_model) == ("output", "sdxl")
    assert chosen.ui is None and load("own.safetensors", *FROM_FILE).ui is None
