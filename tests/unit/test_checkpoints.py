"""SAE files: every format gives the same codes as its own formula; what is not supported is refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saeuron.errors import SaeuronError
from saeuron.sae.files import Placement, load_sae, save_sae
from support.reference import random_sae
from tools.sae_files import write_sparsify, write_unbox

PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")


@pytest.mark.parametrize("with_moments", [True, False])
def test_sdxl_unbox_folder_follows_its_formula(tmp_path, with_moments):
    folder = tmp_path / "unet.up_blocks.0.attentions.1_k10_hidden5120" / "final"
    state = {name: t.double() for name, t in write_unbox(folder, 16, 64, 4, with_moments).items()}
    sae, identity = load_sae(folder)
    assert (identity.base_model, identity.hookpoint, identity.kind) == (
        "sdxl-turbo",
        "up_blocks.0.attentions.1",
        "update",
    )
    x = torch.randn(20, 16)
    z = (x.double() - state["pre_bias"]) @ state["encoder.weight"].T + state["latent_bias"]
    f = torch.zeros_like(z).scatter(-1, z.topk(4).indices, z.topk(4).values).clamp(min=0)
    decoded = f @ state["decoder.weight"].T + state["pre_bias"]
    assert torch.allclose(sae.decode(sae.encode(x)).double(), decoded, atol=1e-4)


def test_saeuron_folder_follows_its_formula(tmp_path):
    state = {name: t.double() for name, t in write_sparsify(tmp_path / "sae", 16, 64, 4).items()}
    sae, _ = load_sae(tmp_path / "sae", Placement("sd15", "up_blocks.1.attentions.1", "output"))
    x = torch.randn(20, 16)
    z = ((x.double() - state["b_dec"]) @ state["encoder.weight"].T + state["encoder.bias"]).clamp(min=0)
    f = torch.zeros_like(z).scatter(-1, z.topk(4).indices, z.topk(4).values)
    assert torch.allclose(sae.decode(sae.encode(x)).double(), f @ state["W_dec"] + state["b_dec"], atol=1e-4)


@pytest.mark.parametrize(("writer", "n", "k"), [(write_unbox, 5120, 10), (write_sparsify, 20480, 32)])
def test_full_size_files_load_and_survive_our_own_format(tmp_path, writer, n, k):
    writer(tmp_path / "sae", 1280, n, k)
    sae, identity = load_sae(tmp_path / "sae", Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update"))
    assert (identity.d, identity.n, identity.k) == (1280, n, k)
    save_sae(tmp_path / "own.safetensors", sae, PLACE)
    again, own = load_sae(tmp_path / "own.safetensors")
    assert (own.hookpoint, own.kind, own.base_model, own.k) == (PLACE.hookpoint, PLACE.kind, PLACE.base_model, k)
    for name, tensor in sae.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_topk", True),
        ("input_unit_norm", True),
        ("transcode", True),
        ("skip_connection", True),
        ("activation", "groupmax"),
    ],
)
def test_variants_that_mean_something_else_are_refused_by_name(tmp_path, option, value):
    write_sparsify(tmp_path / "sae", 16, 64, 4, **{option: value})
    with pytest.raises(SaeuronError, match=option):
        load_sae(tmp_path / "sae", Placement("sd15", "up_blocks.1.attentions.1", "output"))


def test_what_a_file_leaves_out_must_be_chosen(tmp_path):
    write_sparsify(tmp_path / "sae", 16, 64, 4)
    with pytest.raises(SaeuronError, match=r"does not say which base_model.*Choose it"):
        load_sae(tmp_path / "sae")


def test_what_a_file_records_can_not_be_overridden(tmp_path):
    save_sae(tmp_path / "own.safetensors", random_sae(16, 64, 4, 0), PLACE)
    with pytest.raises(SaeuronError, match="records kind 'update'"):
        load_sae(tmp_path / "own.safetensors", Placement(kind="output"))


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("bomb-went-off"),)


def test_a_pickle_with_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_unbox(tmp_path / "sae", 16, 64, 4)
    (tmp_path / "sae" / "state_dict.pth").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(SaeuronError, match="never run"):
        load_sae(tmp_path / "sae", PLACE)
    assert not Path("bomb-went-off").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "state_dict.pth").write_bytes((folder / "state_dict.pth").read_bytes()[:200]),
        lambda folder: (folder / "config.json").write_text("[1, 2"),
        lambda folder: (folder / "config.json").write_text('{"n_dirs_local": 65, "d_model": 16, "k": 4}'),
        lambda folder: (folder / "config.json").write_text('{"n_dirs_local": 64, "d_model": 16, "k": 65}'),
        lambda folder: (folder / "config.json").write_text('{"n_dirs_local": 64, "d_model": 16}'),
        lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"),
        lambda folder: (folder / "config.json").unlink(),
    ],
)
def test_damaged_folders_give_a_clear_error(tmp_path, damage):
    write_unbox(tmp_path / "sae", 16, 64, 4)
    damage(tmp_path / "sae")
    with pytest.raises(SaeuronError):
        load_sae(tmp_path / "sae", PLACE)


def test_values_that_are_not_finite_are_refused(tmp_path):
    sae = random_sae(16, 64, 4, 0)
    sae.encoder.weight[3, 3] = float("nan")
    save_sae(tmp_path / "own.safetensors", sae, PLACE)
    with pytest.raises(SaeuronError, match="not finite"):
        load_sae(tmp_path / "own.safetensors")


@pytest.mark.parametrize("name", ["missing.safetensors", "other.bin", "foreign.safetensors", "cut.safetensors"])
def test_files_that_are_no_sae_give_a_clear_error(tmp_path, name):
    (tmp_path / "other.bin").write_bytes(b"x")
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "foreign.safetensors").read_bytes()[:20])
    with pytest.raises(SaeuronError):
        load_sae(tmp_path / name)
