"""SAEs written in every layout, ours and others': refused where the layout can't say what they compute, else whole."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.sae.figures import SAEFigures
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import WRITERS, Placement
from saeuron.sae.model import ACTIVATIONS, JUMPRELU, TOPK, SparseAutoencoder

D, N, K = 8, 40, 5
PLACE = Placement("sdxl-turbo", "up_blocks.0.attentions.1", "update")


def random(activation: str, k: int = K) -> SparseAutoencoder:
    torch.manual_seed(1)
    sae = SparseAutoencoder(D, N, k, activation=activation)
    sae.load_state_dict({name: torch.randn_like(value) for name, value in sae.state_dict().items()})
    if activation == JUMPRELU:
        sae.threshold.data.abs_()
    return sae.requires_grad_(False)


def own(folder: Path, sae: SparseAutoencoder, placement: Placement, figures: SAEFigures | None) -> Path:
    folder.mkdir(parents=True)
    save_sae(folder / "sae.safetensors", sae, placement, figures=figures)
    return folder / "sae.safetensors"


def others(layout: str, folder: Path, *given: Any) -> Path:
    WRITERS[layout](folder, *given)
    return folder


LAYOUTS = {"ours": own} | {layout: partial(others, layout) for layout in WRITERS}
HELD = {"ours": set(ACTIVATIONS), "sdxl-unbox": {TOPK}, "sparsify": {TOPK}, "saelens": {TOPK, JUMPRELU}}
PLACES = (
    PLACE,
    Placement("sd15", "up_blocks.1.attentions.1", "output"),
    Placement("sdxl-turbo", "mid_block.attentions.0", "update", assumed=("base_model", "kind")),
)
FIGURES = SAEFigures(0.0625, 4.5, 0.25, "a fine-tune")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_written_is_refused_or_comes_back_whole(tmp_path, layout: str, activation: str) -> None:
    """All that `LoadedSAE` has, whatever is added to it: what does not come back is lost without a word."""
    for number, (place, figures, k) in enumerate(product(PLACES, (None, FIGURES), (K, N))):
        sae = random(activation, k)
        if activation not in HELD[layout]:
            with pytest.raises(SaeuronError, match="layout"):
                LAYOUTS[layout](tmp_path / "sae", sae, place, figures)
            assert not list(tmp_path.rglob("*.*"))
            continue
        before = load_sae(own(tmp_path / f"{number}" / "before", sae, place, figures))
        path = LAYOUTS[layout](tmp_path / f"{number}" / "after", sae, place, figures)
        after = load_sae(path)
        assert after.figures == figures and after.assumed == place.assumed
        expected = before._replace(sae=after.sae, identity=replace(before.identity, sha256=after.identity.sha256))
        assert after == expected
        for name, tensor in vars_of(sae).items():
            found = vars_of(after.sae)[name]
            if name == "encoder.bias" and layout in ("sdxl-unbox", "sparsify"):  # another bias was taken out of it
                assert float((found - tensor).abs().max()) < 1e-6 * float((sae.encoder.weight.abs().sum(1)).max())
            else:
                assert torch.equal(torch.as_tensor(found), torch.as_tensor(tensor)), name
        assert (k < N and activation == JUMPRELU) == read_as_topk(path) == read_as_topk(before_path(tmp_path, number))


def vars_of(sae: SparseAutoencoder) -> dict[str, Any]:
    return {"d": sae.d, "n": sae.n, "k": sae.k, **sae.state_dict()}


def before_path(folder: Path, number: int) -> Path:
    return folder / f"{number}" / "before" / "sae.safetensors"


def read_as_topk(path: Path) -> bool:
    """Whether an SAE that is not can be read as one that keeps each token's k largest."""
    try:
        return load_sae(path).identity.activation != load_sae(path, Placement(activation=TOPK)).identity.activation
    except SaeuronError:
        return False


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize(
    "found", [3, ["k"], {"k": 5}, {"base_model": "sd15", "k": "many"}, {"k": "5", "activation": "spline"},
              {"k": "5", "figures": "{}"}],
)  # fmt: skip
def test_what_is_said_beside_a_layout_is_not_trusted(tmp_path, layout: str, found: object) -> None:
    WRITERS[layout](tmp_path / "sae", random(TOPK), PLACE)
    (config,) = (tmp_path / "sae").glob("*.json")
    settings = json.loads(config.read_text())
    (settings["metadata"] if layout == "saelens" else settings)["saeuron"] = found
    config.write_text(json.dumps(settings))
    with pytest.raises(SaeuronError):
        load_sae(tmp_path / "sae", PLACE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_topk_is_readable_by_older_packs(tmp_path, activation: str) -> None:
    from safetensors import safe_open

    with safe_open(own(tmp_path / "sae", random(activation), PLACE, None), "pt") as opened:
        assert opened.metadata()["version"] == ("1.0" if activation == TOPK else "2.0")
