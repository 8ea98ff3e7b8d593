"""Which files are an SAE: whatever their names' case and wherever they lie; what other files are is said."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath

import pytest
import torch
from safetensors.torch import save_file

from saeuron.errors import SaeuronError
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import Placement
from saeuron.sae.layouts import LAYOUTS, SDXL_UNBOX, find_files, is_sae
from saeuron.sae.repositories import REPOSITORIES
from support.reference import random_sae
from tools.sae_files import write_dictionary_learning, write_saelens, write_sparsify, write_unbox

PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")
WRITERS = dict(zip(LAYOUTS, (write_unbox, write_sparsify, write_saelens, write_dictionary_learning), strict=True))

links = pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.source)
def published(request, tmp_path):
    """A folder in each of the layouts, and its layout."""
    WRITERS[request.param](tmp_path / "sae", 16, 64, 4)
    return tmp_path / "sae", request.param


def same(a, b) -> bool:
    return all(torch.equal(t, b.sae.state_dict()[name]) for name, t in a.sae.state_dict().items())


def test_the_weights_stand_for_their_folder(published):
    folder, layout = published
    assert is_sae(folder) and is_sae(folder / layout.weights)
    assert same(load_sae(folder, PLACE), load_sae(folder / layout.weights, PLACE))


@pytest.mark.parametrize("change", [str.upper, lambda name: f"{Path(name).stem}{Path(name).suffix.upper()}"])
def test_upper_case_is_the_same(published, change):
    folder, layout = published
    before = load_sae(folder, PLACE)
    for name in (layout.config, layout.weights):
        (folder / name).rename(folder / change(name))
    assert is_sae(folder) and is_sae(folder / change(layout.weights))
    assert same(before, load_sae(folder, PLACE))


def test_a_config_with_a_byte_order_mark(published):
    folder, layout = published
    before = load_sae(folder, PLACE)
    config = folder / layout.config
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    assert same(before, load_sae(folder, PLACE))


def test_half_of_an_sae_says_what_is_missing(published):
    folder, layout = published
    (folder / layout.config).unlink()
    for path in (folder, folder / layout.weights):
        assert not is_sae(path)
        with pytest.raises(SaeuronError, match=f"half of an SAE.*{re.escape(layout.config)}"):
            load_sae(path, PLACE)


@pytest.mark.parametrize("name", ["own.safetensors", "OWN.SAFETENSORS", "sae.safetensors"])
def test_a_file_of_ours_under_any_name(tmp_path, name):
    save_sae(tmp_path / name, random_sae(16, 64, 4, 0), PLACE)
    (tmp_path / "cfg.json").write_text("{}")
    assert is_sae(tmp_path / name) and find_files(tmp_path / name).layout is None
    assert load_sae(tmp_path / name).identity.k == 4


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("SAE_img_18.PT", "DifFRACT"),
        ("_METADATA", "JAX"),
        ("sae_best.pt", "FLUX"),
        ("sae_img_12.pt", "DifFRACT"),
        ("transcoder_txt_6.pt", "DifFRACT"),
    ],
)
def test_files_of_others_say_whose_they_are_and_what_is_needed(tmp_path, name, source):
    folder = tmp_path / "other"
    folder.mkdir()
    save_file({"W_enc": torch.zeros(3, 3)}, folder / name)
    (folder / "cfg.json").write_text("{}")
    (folder / "config.json").write_text("{}")
    for path in (folder, folder / name):
        assert not is_sae(path)
        with pytest.raises(SaeuronError, match=rf"{source}.*cfg\.json \+ sae\.safetensors"):
            load_sae(path, PLACE)


def test_the_files_of_re_n_y_are_told_by_their_config(tmp_path):
    folder = tmp_path / "cc3m"
    folder.mkdir()
    save_file({"encoder.weight": torch.zeros(3, 3)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"features": 3072, "pages": 12288, "k": 32}')
    for path in (folder, folder / "model.safetensors"):
        assert not is_sae(path)
        with pytest.raises(SaeuronError, match=r"RE-N-Y, for FLUX.*cfg\.json \+ sae\.safetensors"):
            load_sae(path, PLACE)
    for other in ('{"features": 3}', "[", "[]"):
        (folder / "config.json").write_text(other)
        with pytest.raises(SaeuronError, match=r"holds no SAE; found config\.json, model\.safetensors"):
            load_sae(folder, PLACE)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"\xff" * 100, b"\x02\0\0\0\0\0\0\0[]", b"version https://git"]
)
def test_other_safetensors_files_are_no_sae(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    assert not is_sae(tmp_path / "x.safetensors")


@links
def test_links_to_folders_and_files_and_what_their_names_say(tmp_path):
    folder = tmp_path / "disk" / "unet.up_blocks.0.attentions.0_k4" / "final"
    write_unbox(folder, 16, 64, 4)
    (tmp_path / "mine").symlink_to(folder)
    (tmp_path / "unet.mid_block.attentions.0").symlink_to(folder)
    leaves = tmp_path / "up_blocks.0.attentions.1"
    leaves.mkdir()
    for file in folder.iterdir():
        (leaves / file.name).symlink_to(file)
    found = {path.name: load_sae(path).identity.hookpoint for path in tmp_path.iterdir() if path.name != "disk"}
    assert found == {
        "mine": "up_blocks.0.attentions.0",
        "unet.mid_block.attentions.0": "mid_block.attentions.0",
        "up_blocks.0.attentions.1": "up_blocks.0.attentions.1",
    }


@links
def test_broken_links_are_called_that(published):
    folder, layout = published
    (folder.parent / "link").symlink_to(folder)
    elsewhere = folder.parent / "blob"
    shutil.move(folder / layout.weights, elsewhere)
    (folder / layout.weights).symlink_to(elsewhere)
    assert is_sae(folder.parent / "link")
    elsewhere.unlink()
    for path in (folder, folder.parent / "link"):
        assert not is_sae(path)
        with pytest.raises(SaeuronError, match=f"{re.escape(layout.weights)} is a broken link.*blob"):
            load_sae(path, PLACE)
    shutil.rmtree(folder)
    with pytest.raises(SaeuronError, match="link is a broken link"):
        load_sae(folder.parent / "link", PLACE)


@pytest.mark.parametrize(
    ("folder", "k"), [("unet.{}_k10_hidden5120_auxk256_bs4096_lr0.0001", 10), ("unet.{}_k160_hidden5120_x", 160)]
)
def test_weights_of_sdxl_unbox_are_enough_in_a_folder_of_their_name(tmp_path, folder, k):
    """The front end's list of missing models brings one file of an SAE."""
    name = folder.format(PLACE.hookpoint)
    assert [r.name for r in REPOSITORIES if r.publishes(PurePosixPath(name, "final"))]
    final = tmp_path / name / "final"
    write_unbox(final, 16, 5120, k, with_moments=False)
    with_config = load_sae(final)
    (final / "config.json").unlink()
    for path in (final, final / "state_dict.pth"):
        alone = load_sae(path)
        assert is_sae(path) and same(with_config, alone) and alone.identity == with_config.identity
        assert f"config.json is not beside state_dict.pth: k {k} is" in alone.note()
    assert "config.json" not in with_config.note()


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda repository: repository.name)
def test_half_of_what_is_published_loads_or_says_what_is_missing(tmp_path, repository):
    """A config of sparsify's may switch on what changes the codes, and no name says so."""
    name = "unet.up_blocks.1.attentions.1" + ("_k160_hidden5120_auxk256" if repository.layout == SDXL_UNBOX else "")
    assert repository.publishes(PurePosixPath(name))
    WRITERS[repository.layout](tmp_path / name, 16, 5120, 160)
    (tmp_path / name / repository.layout.config).unlink()
    if repository.layout == SDXL_UNBOX:
        assert load_sae(tmp_path / name).identity.k == 160
    else:
        with pytest.raises(SaeuronError, match=r"half of an SAE.*cfg\.json"):
            load_sae(tmp_path / name, PLACE)


def test_a_name_that_the_weights_contradict_is_refused(tmp_path):
    folder = tmp_path / "unet.mid_block.attentions.0_k4_hidden128"
    write_unbox(folder, 16, 64, 4)
    (folder / "config.json").unlink()
    with pytest.raises(SaeuronError, match=r"encoder\.weight has shape \[64, 16\], expected \[128, 16\]"):
        load_sae(folder)
