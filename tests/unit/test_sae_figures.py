"""What an SAE's file says of how it did on its own model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saeuron.__main__ import main
from saeuron.errors import SaeuronError
from saeuron.files import read_safetensors
from saeuron.sae.figures import SAEFigures
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import Placement
from support.reference import random_sae

PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")
FIGURES = SAEFigures(0.0741, 9.5, 0.0125, "sdxl-turbo")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_sae(tmp_path / "sae.safetensors", random_sae(16, 64, 4, 0), PLACE, figures=FIGURES)
    return tmp_path / "sae.safetensors"


def test_they_come_back_and_older_packs_read_the_file(file: Path) -> None:
    loaded = load_sae(file)
    assert loaded.figures == FIGURES
    assert read_safetensors(file)[1]["version"] == "1.0"
    plain = file.with_name("plain.safetensors")
    save_sae(plain, loaded.sae, PLACE)
    assert load_sae(plain).figures is None
    weights, others = read_safetensors(file)[0], read_safetensors(plain)[0]
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_the_same_sae_gives_the_same_bytes(file: Path) -> None:
    again = file.with_name("again.safetensors")
    save_sae(again, load_sae(file).sae, PLACE, figures=FIGURES)
    assert again.read_bytes() == file.read_bytes()


def test_they_are_shown_and_kept_when_a_file_is_converted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = file.with_name("half.safetensors")
    assert main(["convert", str(file), str(half), "--dtype", "float16"]) == 0
    assert load_sae(half).figures == FIGURES
    capsys.readouterr()
    assert main(["inspect", str(file)]) == 0
    assert "on sdxl-turbo: unexplained variance 7.4%, 9.5 features a token, 1.2% never fired" in capsys.readouterr().out


@pytest.mark.parametrize(
    "written",
    [
        "[]", "{}", "{", "NaN",
        *(json.dumps({**vars(FIGURES), name: value}) for name, value in (
            ("unexplained", -0.1), ("unexplained", "0.1"), ("unexplained", True), ("features_a_token", None),
            ("dead", 1.5), ("dead", float("inf")), ("model", 3), ("model", "a\nb"), ("model", "x" * 201),
        )),
    ],
)  # fmt: skip
def test_figures_that_can_not_be_are_refused(file: Path, written: str) -> None:
    tensors, metadata = read_safetensors(file)
    save_file(tensors, file, {**metadata, "figures": written})
    with pytest.raises(SaeuronError, match=r"sae\.safetensors"):
        load_sae(file)
