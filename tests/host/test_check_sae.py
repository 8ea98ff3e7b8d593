"""Check SAE and Find Hookpoint on the real miniature."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from saeuron.miniature.architecture import DECISIVE
from support.host_graph import Shot, load_sae, sample, unlearn
from tools.pack import pack

SETTINGS: dict[str, Any] = {
    "sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 4, "cfg": 1.0,
    "width": 192, "height": 192, "seed": 5,
}  # fmt: skip


def check(miniature: Any, sae: Any, prompts: str = "", pictures: int = 3, **changes: Any) -> Any:
    node = pack("nodes.places").SaeuronCheckSAE
    return node.execute(*miniature[:2], sae, prompts, pictures, **{**SETTINGS, **changes}).result


def find(miniature: Any, prompts: str = "a cat", seeds: int = 2, **judges: Any) -> Any:
    return pack("nodes.places").SaeuronFindHookpoint.execute(*miniature, prompts, seeds, **judges, **SETTINGS).result


@pytest.mark.parametrize("hookpoint", ["up_blocks.0.attentions.1", *DECISIVE.values()])
def test_the_miniatures_own_fit(miniature, hookpoint):
    text, unexplained = check(miniature, load_sae(hookpoint))
    assert "It fits." in text and 0 < unexplained < 0.25
    assert "on what it was trained on, saeuron-miniature: unexplained variance" in text
    assert len(text.split("features a token\n")[1].splitlines()) == SETTINGS["steps"]


def test_an_sae_that_is_given_the_wrong_thing_to_read_is_found_out(miniature, sae):
    """The mistake of the seed notebook."""
    wrong = sae._replace(identity=replace(sae.identity, kind="output"))
    text, unexplained = check(miniature, wrong)
    assert "was trained on the update: choose update as kind" in text and unexplained > 1


def test_an_sae_that_knows_nothing_of_the_model_does_not_fit(miniature):
    """Of the right shape, with random weights."""
    sae = load_sae()
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in sae.module.state_dict().values():
            tensor.copy_(torch.randn_like(tensor))
    assert "It does not fit" in check(miniature, sae)[0]


@pytest.mark.parametrize("changes", [{"cfg": 2.0}, {"sampler_name": "heun"}, {"prompts": "a cat\n# no\na dog"}])
def test_guidance_samplers_and_own_prompts(miniature, sae, changes):
    assert "It fits." in check(miniature, sae, **changes)[0]


def test_nothing_is_left_on_the_model(miniature, sae, cats):
    patched = unlearn(miniature[0], sae, cats)
    before = [sample(miniature, model, Shot()) for model in (miniature[0], patched)]
    check(miniature, sae)
    find(miniature, seeds=1, clip_vision=clip_vision())
    assert all(
        torch.equal(sample(miniature, m, Shot()), b) for m, b in zip((miniature[0], patched), before, strict=True)
    )


def clip_vision() -> Any:
    return pack("nodes.clip_similarity").SaeuronLoadMiniatureClip.execute().result[0]


def classifier(name: str) -> Any:
    return pack("nodes.evaluation").SaeuronLoadClassifier.execute(name).result[0]


def test_the_miniature_decides_on_objects_where_it_is_known_to(miniature):
    """docs/results/blocks.md."""
    objects = next(name for name in pack("nodes.host.folders").list_classifiers() if "objects" in name)
    plot, grid, text, table = find(miniature, classifier=classifier(objects), concept_label="cats")
    assert table.startswith(f"{DECISIVE['objects']} decides the most about it.")
    found = json.loads(text)
    assert found["label"] == "cats" and found["with_all_blocks"] == 1.0
    assert [block["hookpoint"] for block in found["blocks"]] == list(
        pack("nodes.host.unet").transformer_blocks(miniature[0])
    )
    assert plot.ndim == grid.ndim == 4 and grid.shape[2] > grid.shape[1]


def test_clip_tells_it_without_a_classifier(miniature):
    *_, table = find(miniature, clip_vision=clip_vision())
    assert table.startswith(DECISIVE["objects"])


def test_what_can_not_be_judged_is_refused(miniature):
    with pytest.raises(ValueError, match="Nothing judges the pictures"):
        find(miniature)
    with pytest.raises(ValueError, match="at least one line that asks for the concept"):
        find(miniature, "# nothing", clip_vision=clip_vision())
