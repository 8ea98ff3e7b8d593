"""SAEs that other people's packages write and read themselves: sparsify, SAELens and dictionary_learning from PyPI.

They get an environment of their own, ``.venv-peers`` in the checkout, which ``make test-slow PEERS=1`` makes once (some
gigabytes); ``SAEURON_PEERS`` names a Python that has them already. Without either these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest
import torch

from saeuron.sae.files import load_sae
from saeuron.sae.formats import WRITERS, Placement
from saeuron.sae.model import JUMPRELU, SparseAutoencoder
from support import peers
from support.reference import random_sae

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("eai-sparsify==1.3.3", "sae-lens==6.54.12", "dictionary_learning==0.1.0")
PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")


@pytest.fixture(scope="module")
def run():
    """Runs `support/peers.py` with the peers' Python."""
    python = os.environ.get("SAEURON_PEERS")
    if not python:
        folder = ROOT / ".venv-peers"
        python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        done = folder / "done"
        if not done.exists() and not os.environ.get("PEERS"):
            pytest.skip("the peers' packages are not there; make test-slow PEERS=1 installs them, some gigabytes")
        if not done.exists():
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
            done.touch()

    def call(task: str, folder: Path) -> dict[str, torch.Tensor]:
        words = [python, peers.__file__, task, str(folder)]
        # sparsify would look for a GPU with Triton.
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "SPARSIFY_DISABLE_TRITON": "1"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return peers.made_in(folder)

    return call


def ours(folder: Path) -> torch.Tensor:
    sae, identity, *_ = load_sae(folder, Placement(base_model="sdxl-turbo", kind="update"))
    assert identity.hookpoint == "up_blocks.0.attentions.1"
    return sae.decode(sae.encode(peers.tokens()))


def sae_with(activation: str) -> SparseAutoencoder:
    weights = random_sae(peers.D, peers.N, peers.K, 3).state_dict()
    if activation == JUMPRELU:
        weights["threshold"] = torch.rand(peers.N, generator=torch.Generator().manual_seed(4))
    sae = SparseAutoencoder(peers.D, peers.N, peers.K, activation=activation)
    sae.load_state_dict(weights)
    return sae.requires_grad_(False)


def test_what_their_code_wrote_we_read_as_they_do(run, tmp_path):
    made = run("write", tmp_path)
    assert len(made) == 15, sorted(made)
    for name, expected in made.items():
        found = ours(tmp_path / name)
        assert float(expected.std(0).mean()) > 0.01, f"{name} would agree whatever it were"
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("layout", ["sparsify", "saelens"])
def test_what_we_write_their_code_reads_as_we_do(run, tmp_path, layout):
    kinds = ("topk", "jumprelu") if layout == "saelens" else ("topk",)
    saes = {kind: sae_with(kind) for kind in kinds}
    for kind, sae in saes.items():
        WRITERS[layout](tmp_path / kind, sae, PLACE)
        found = load_sae(tmp_path / kind, Placement(base_model="sdxl-turbo", kind="update")).identity
        assert found.hookpoint == PLACE.hookpoint
    made = run("read", tmp_path)
    assert made.keys() == saes.keys()
    for kind, sae in saes.items():
        expected = sae.decode(sae.encode(peers.tokens()))
        torch.testing.assert_close(made[kind], expected, rtol=1e-4, atol=1e-4)
