"""Where SAEs in others' layouts belong: what their files say, what is assumed, and what is left to the person."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from saeuron.errors import SaeuronError
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import WRITERS, Placement
from support.reference import random_sae
from tools.sae_files import write_dictionary_learning, write_saelens, write_sparsify, write_unbox

D, N, K = 8, 40, 5
PLACE_FIELDS = ("sdxl-turbo", "up_blocks.0.attentions.1", "update")
PLACE = Placement(*PLACE_FIELDS)


@pytest.mark.parametrize("layout", WRITERS)
def test_where_it_belongs_is_written_and_read(tmp_path, layout: str) -> None:
    place = ("sd15", "up_blocks.1.attentions.1", "output")  # which is assumed of no layout
    WRITERS[layout](tmp_path / "sae", random_sae(D, N, K, 1), Placement(*place))
    identity = load_sae(tmp_path / "sae").identity
    assert (identity.base_model, identity.hookpoint, identity.kind) == place
    with pytest.raises(SaeuronError, match=r"records hookpoint 'up_blocks\.1\.attentions\.1'"):
        load_sae(tmp_path / "sae", Placement("sd15", "mid_block.attentions.0", "output"))


@pytest.mark.parametrize(("layout", "known"), [("sparsify", {"hookpoint"}), ("saelens", {"hookpoint", "base_model"})])
def test_what_a_layout_has_a_field_for_others_can_read(tmp_path, layout: str, known: set[str]) -> None:
    WRITERS[layout](tmp_path / "sae", random_sae(D, N, K, 1), PLACE)
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    del (config["metadata"] if layout == "saelens" else config)["saeuron"]
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(config))
    said = asdict(PLACE) | {"activation": "", "assumed": ()}
    loaded = load_sae(tmp_path / "sae", Placement(**{name: "" if name in known else said[name] for name in said}))
    assert loaded.placement == PLACE


def test_what_is_assumed_is_not_written_as_if_the_file_had_said_it(tmp_path) -> None:
    write_unbox(tmp_path / "sae", D, N, K)
    loaded = load_sae(tmp_path / "sae", Placement(hookpoint=PLACE.hookpoint))
    WRITERS["saelens"](tmp_path / "lens", loaded.sae, loaded.placement)
    about = json.loads((tmp_path / "lens" / "cfg.json").read_text())["metadata"]
    assert about.keys() == {"sae_lens_training_version", "hook_name", "saeuron"}
    own = tmp_path / "own.safetensors"
    save_sae(own, loaded.sae, loaded.placement)
    for path, given in (
        (tmp_path / "sae", Placement(hookpoint=PLACE.hookpoint)), (own, None), (tmp_path / "lens", None)
    ):  # fmt: skip
        again = load_sae(path, given)
        assert again.assumed == ("base_model", "kind")
        assert (again.identity.base_model, again.identity.kind) == ("sdxl-turbo", "update")
        assert "do not say so: base model sdxl-turbo and kind update. If it is another" in again.note()
        chosen = load_sae(path, Placement("sdxl", PLACE.hookpoint, "output"))
        assert chosen.assumed == () and chosen.note() == ""
        assert (chosen.identity.base_model, chosen.identity.kind) == ("sdxl", "output")
    save_sae(own, chosen.sae, chosen.placement)
    with pytest.raises(SaeuronError, match="records kind 'output'"):
        load_sae(own, Placement(kind="update"))


# What a config calls the place -> the hookpoint that it means, empty for none.
PLACES = {
    "unet.up_blocks.1.attentions.2": "up_blocks.1.attentions.2",
    "mid_block.attentions.0": "mid_block.attentions.0",
    "up.0.1": "up_blocks.0.attentions.1",
    "model.diffusion_model.output_blocks.1.1": "up_blocks.0.attentions.1",
    "middle_block.1": "mid_block.attentions.0",
    "unet.up_blocks.1.attentions.1.transformer_blocks.0": "",
    "unet.down_blocks.2": "",
    "output_blocks.1.0": "",
    "somewhere": "",
}


@pytest.mark.parametrize("layout", ["sparsify", "saelens", "dictionary_learning"])
@pytest.mark.parametrize("place", PLACES)
def test_what_a_config_calls_the_place(tmp_path, layout: str, place: str) -> None:
    folder = tmp_path / "unet.down_blocks.2.attentions.1"  # by which nothing is settled once the config says something
    if layout == "sparsify":
        write_sparsify(folder, D, N, K, hookpoint=place)
    elif layout == "saelens":
        write_saelens(folder, D, N, K, metadata={"hook_name": place, "model_name": "stabilityai/sdxl-turbo"})
    else:
        write_dictionary_learning(folder, D, N, K)
        config = folder / "config.json"
        config.write_text(config.read_text().replace("up_blocks.0.attentions.1", place))
    given = Placement("" if layout == "saelens" else "sdxl-turbo", kind="update")
    if PLACES[place]:
        identity = load_sae(folder, given).identity
        assert (identity.hookpoint, identity.base_model) == (PLACES[place], "sdxl-turbo")
        return
    with pytest.raises(SaeuronError, match=f"belongs to '{place[:9]}.*choose it as hookpoint on the loader"):
        load_sae(folder, given)
    chosen = Placement("sdxl-turbo", "mid_block.attentions.0", "update")
    assert load_sae(folder, chosen).identity.hookpoint == "mid_block.attentions.0"


def test_a_folder_named_after_a_layer_in_a_block_is_not_of_the_block(tmp_path) -> None:
    write_sparsify(tmp_path / "unet.up_blocks.1.attentions.1.transformer_blocks.0", D, N, K)
    with pytest.raises(SaeuronError, match="does not say which hookpoint"):
        load_sae(tmp_path / "unet.up_blocks.1.attentions.1.transformer_blocks.0", Placement("sd15", kind="output"))
