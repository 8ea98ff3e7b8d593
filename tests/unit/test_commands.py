"""The command line, run as a person runs it: on files, on the miniature, and where something is missing."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict

import numpy as np
import pytest

from saeuron.__main__ import main
from saeuron.cli.options import MINIATURE_SAE
from saeuron.features.feature_set import FeatureSet
from saeuron.reference import PACKAGES
from saeuron.sae.files import load_sae
from saeuron.sae.formats import Placement
from tools.host.unpack import REPOSITORY
from tools.sae_files import write_unbox

COMMANDS = (
    "inspect", "check", "collect", "select", "generate", "sweep", "evaluate", "convert", "download", "reproduce",
    "record", "train",
)  # fmt: skip
QUICK = ("--steps", "2")
JUDGE = ("--classifier", str(MINIATURE_SAE.parents[1] / "classifiers" / "objects"), "--label", "cats")


@pytest.fixture
def run(capsys):
    """Runs words and returns the JSON document, or standard error where it fails."""

    def call(*words: object):
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return json.loads(out) if status == 0 else err

    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_inspect_says_what_an_sae_is(run):
    _, identity, figures, *_ = load_sae(MINIATURE_SAE)
    assert run("inspect", MINIATURE_SAE, "--json") == {**identity.as_dict(), "figures": asdict(figures)}


def test_convert_keeps_what_the_sae_does(run, tmp_path):
    folder = tmp_path / "unet.up_blocks.0.attentions.1_k3" / "final"
    write_unbox(folder, d=6, n=12, k=3)
    assert run("convert", folder, tmp_path / "ours.safetensors", "--json")["sae"]["kind"] == "update"
    before, after = load_sae(folder), load_sae(tmp_path / "ours.safetensors", Placement())
    for name, tensor in before.sae.state_dict().items():
        assert tensor.equal(after.sae.state_dict()[name])


def test_check_says_whether_the_sae_fits(run, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\na tower in gray style\n")
    found = run("check", prompts, *QUICK, "--json")
    assert found["verdict"] == "It fits." and found["kind"] == found["sae"]["kind"] == "update"
    assert 0 < found["unexplained"] < 0.25 < found["other_kind"] and len(found["steps"]) == 2
    assert found["on_its_own_model"] == asdict(load_sae(MINIATURE_SAE).figures)


def test_statistics_features_pictures_and_their_judgement(run, tmp_path):
    from PIL import Image

    for concept in ("cats", "towers"):
        (tmp_path / f"{concept}.txt").write_text(f"a {concept[:-1]} in twemoji style\n")
        found = run("collect", tmp_path / f"{concept}.txt", "--output", tmp_path / f"{concept}.st", "--json", *QUICK)
        assert found["prompts"] == 1 and found["firing"] and len(found["sigmas"]) == 2
    limits = ("--tau", "2", "--dead", "0", "--overactive", "1")
    features = tmp_path / "cats.json"
    run("select", tmp_path / "cats.st", tmp_path / "towers.st", "--output", features, *limits, "--json")
    assert len(FeatureSet.load(features).steps[0].features) == 2

    drawing = ("--features", features, *QUICK, "--json")
    run("generate", tmp_path / "cats.txt", "--output", tmp_path, "--multiplier", "-20", *drawing)
    before, after = (np.asarray(Image.open(tmp_path / part / "0000.png")) for part in ("before", "after"))
    assert before.shape == (192, 192, 3) and not np.array_equal(before, after)
    assert run("evaluate", tmp_path, *JUDGE, "--json")["pictures"] == 1

    others = tmp_path / "others.txt"
    others.write_text("towers | a tower\n")
    points = run("sweep", tmp_path / "cats.txt", "--others", others, "--multipliers=-1,-20", *JUDGE, *drawing)["points"]
    assert [point["multiplier"] for point in points] == [None, -1, -20]
    assert all(point["retained_accuracy"] in (0, 1) for point in points)


def test_generate_replaces_and_says_where(run, tmp_path):
    from PIL import Image

    (tmp_path / "prompts.txt").write_text("a cat in twemoji style\na tower in gray style\n")
    features = REPOSITORY / "feature_sets" / "miniature" / "cats.json"
    words = ("generate", tmp_path / "prompts.txt", "--output", tmp_path, "--features", features, *QUICK)
    words += ("--replace", "cat -> dog")
    pictures = run(*words, "--json")["pictures"]
    assert ["mask" in picture for picture in pictures] == [False, False, True, True]
    cat, tower = pictures[2:]
    assert cat["found"] > 0.05 and np.asarray(cat["mask"]).shape == (6, 6) and np.max(cat["mask"]) == 1
    assert tower["found"] <= 0.05 and tower["mask"] is None
    drawn = [np.asarray(Image.open(picture["picture"])) for picture in pictures]
    assert not np.array_equal(drawn[0], drawn[2]) and np.array_equal(drawn[1], drawn[3])
    looked = run(*words, "--look-first", "--json")["pictures"][2:]
    assert [picture["mask"] is None for picture in looked] == [False, True] and looked[0]["mask"] != cat["mask"]
    off = run(*words, "--strength", "0", "--json")["pictures"]
    assert [(picture["found"], picture["mask"]) for picture in off[2:]] == [(None, None)] * 2
    assert "from 0 to 2" in run(*words, "--strength", "3")
    for not_one in ("cat", "cat -> dog\ntower -> tree"):
        assert "one thing and what to draw instead" in run(*words[:-1], not_one)


def test_generate_takes_one_edit(tmp_path):
    for words in ((), ("--multiplier", "-1", "--replace", "a cat -> a dog")):
        with pytest.raises(SystemExit):
            main(["generate", "prompts.txt", "--output", str(tmp_path), "--features", "cats.json", *words])


def test_without_a_network_it_says_what_to_download_and_where_to_put_it(run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = run("reproduce", "--model", "nobody/sdxl-turbo", "--sae", MINIATURE_SAE)
    assert "hf download nobody/sdxl-turbo" in message and "--local-dir FOLDER" in message


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("model", ["miniature", "nobody/sdxl-turbo"])
def test_a_package_that_is_not_installed_is_asked_for_before_anything_is_loaded(run, monkeypatch, package, model):
    monkeypatch.setitem(sys.modules, package, None)  # any import of it fails
    message = run("reproduce", "--model", model, "--sae", MINIATURE_SAE)
    assert f"The reference path needs the Python package {package}" in message
    assert re.search(rf"pip install [a-z ]*{package}", message)


def test_what_needs_no_model_does_without_those_packages(run, monkeypatch):
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    assert run("inspect", MINIATURE_SAE, "--json")["hookpoint"] == "up_blocks.0.attentions.1"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("inspect", "nowhere"), "no SAE at 'nowhere'"),
        (("collect", "nowhere.txt", "--output", "x"), "nowhere.txt can't be read"),
        (("evaluate", "nowhere", *JUDGE), "no .png pictures"),
        (("evaluate", "nowhere", *JUDGE[:-1], "unicorns"), "knows no 'unicorns'"),
        (("reproduce", "--steps", "0", "--miniature"), "at least 1 step"),
        (("reproduce",), "--sae"),
    ],
)
def test_what_is_wrong_is_said(run, words, expected):
    assert expected in run(*words)
