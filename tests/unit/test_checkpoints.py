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
    sae, identity, *_ = load_sae(folder)
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


# What trainers note that does not change how a file is read. SAeUron's own SAEs were trained with batch_topk; its
# loader switches that and sample_topk off: TopK per token.
HARMLESS = [
    {},
    {"batch_topk": True},
    {"sample_topk": True},
    {"batch_topk": True, "sample_topk": True, "multi_topk": True, "normalize_decoder": False},
    {"activation": "topk", "transcode": False, "skip_connection": False, "hookpoint": "unet.up_blocks.1.attentions.1"},
    {"signed": False, "never_heard_of": None},
]


@pytest.mark.parametrize("options", HARMLESS, ids=str)
def test_saeuron_folder_follows_its_formula(tmp_path, options):
    state = {name: t.double() for name, t in write_sparsify(tmp_path / "sae", 16, 64, 4, **options).items()}
    sae = load_sae(tmp_path / "sae", Placement("sd15", "up_blocks.1.attentions.1", "output")).sae
    x = torch.randn(20, 16)
    z = ((x.double() - state["b_dec"]) @ state["encoder.weight"].T + state["encoder.bias"]).clamp(min=0)
    f = torch.zeros_like(z).scatter(-1, z.topk(4).indices, z.topk(4).values)
    assert torch.allclose(sae.decode(sae.encode(x)).double(), f @ state["W_dec"] + state["b_dec"], atol=1e-4)


@pytest.mark.parametrize(("writer", "n", "k"), [(write_unbox, 5120, 10), (write_sparsify, 20480, 32)])
def test_full_size_files_load_and_survive_our_own_format(tmp_path, writer, n, k):
    writer(tmp_path / "sae", 1280, n, k)
    sae, identity, *_ = load_sae(tmp_path / "sae", Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update"))
    assert (identity.d, identity.n, identity.k) == (1280, n, k)
    save_sae(tmp_path / "own.safetensors", sae, PLACE)
    again, own, *_ = load_sae(tmp_path / "own.safetensors")
    assert (own.hookpoint, own.kind, own.base_model, own.k) == (PLACE.hookpoint, PLACE.kind, PLACE.base_model, k)
    for name, tensor in sae.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("signed", True),
        ("embed_skip", True),
        ("gram_lookup", True),
        ("never_heard_of", True),
        ("never_heard_of", 0.5),
        ("never_heard_of", "a way of its own"),
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


def test_unbox_options_that_are_not_known_are_refused_by_name(tmp_path):
    write_unbox(tmp_path / "sae", 16, 64, 4)
    config = tmp_path / "sae" / "config.json"
    config.write_text(config.read_text().replace("{", '{"auxk_coef": 0.03, "normalize": true, ', 1))
    with pytest.raises(SaeuronError, match="normalize = True"):
        load_sae(tmp_path / "sae", PLACE)


@pytest.mark.parametrize(("folder", "d"), [("text_model.encoder.layers.8_k64", 16), ("x", 768), ("x", 2048)])
def test_an_sae_of_a_text_encoder_is_not_taken_for_one_of_the_unet(tmp_path, folder, d):
    write_unbox(tmp_path / folder, d, 32, 4)
    with pytest.raises(SaeuronError, match="text encoder"):
        load_sae(tmp_path / folder, Placement(hookpoint="up_blocks.0.attentions.1"))


FLOATS = [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_weights_in_other_float_types_are_read_as_what_they_are(tmp_path, dtype):
    state = write_unbox(tmp_path / "unbox", 16, 64, 4)
    stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
    torch.save({"state_dict": stored}, tmp_path / "unbox" / "state_dict.pth")
    sae = load_sae(tmp_path / "unbox", PLACE).sae
    assert torch.equal(sae.decoder.weight, stored["decoder.weight"].float().T)

    stored = {name: t.to(dtype) for name, t in write_sparsify(tmp_path / "sparsify", 16, 64, 4).items()}
    save_file(stored, tmp_path / "sparsify" / "sae.safetensors")
    sae = load_sae(tmp_path / "sparsify", PLACE).sae
    assert torch.equal(sae.decoder.weight, stored["W_dec"].float())
    assert torch.equal(sae.encoder.weight, stored["encoder.weight"].float())


def test_a_quantized_sae_is_refused_in_words(tmp_path):
    state = write_sparsify(tmp_path / "sae", 16, 64, 4)
    stored = {name: t.to(torch.float8_e4m3fn) for name, t in state.items()}
    save_file({**stored, "encoder.weight_scale": torch.ones(1)}, tmp_path / "sae" / "sae.safetensors")
    with pytest.raises(SaeuronError, match=r"float8_e4m3fn with factors .*encoder\.weight_scale"):
        load_sae(tmp_path / "sae", PLACE)


def test_a_pth_of_an_old_torch_says_how_to_bring_it_up_to_date(tmp_path):
    state = write_unbox(tmp_path / "sae", 16, 64, 4)
    file = tmp_path / "sae" / "state_dict.pth"
    torch.save({"state_dict": state}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(SaeuronError, match=r"torch before 1\.6.*save it anew"):
        load_sae(tmp_path / "sae", PLACE)
    torch.save(torch.load(file, weights_only=True), file)  # what it says
    assert load_sae(tmp_path / "sae", PLACE).identity.k == 4


@pytest.mark.parametrize("name", ["missing.safetensors", "other.bin", "foreign.safetensors", "cut.safetensors"])
def test_files_that_are_no_sae_give_a_clear_error(tmp_path, name):
    (tmp_path / "other.bin").write_bytes(b"x")
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "foreign.safetensors").read_bytes()[:20])
    with pytest.raises(SaeuronError):
        load_sae(tmp_path / name)
