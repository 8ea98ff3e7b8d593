"""What only newer hosts do: copies of a model for further GPUs, and weights that are loaded when they are needed."""

from __future__ import annotations

from dataclasses import fields

import comfy.model_patcher
import pytest
import torch
from comfy_api.v0_0_2 import io

from support.host_graph import Shot, load_sae, sample, unlearn
from tools.pack import pack

SHOT = Shot(width=128, height=128)
needs_newer = pytest.mark.skipif(
    not hasattr(comfy.model_patcher.ModelPatcher, "deepclone_multigpu"), reason="this ComfyUI makes no such copies"
)


@needs_newer
@pytest.mark.parametrize("edit", ["unlearn", "replace", "plain"])
def test_a_copy_for_a_second_gpu_draws_the_same(miniature, sae, cats, cat_to_dog, edit):
    model = miniature[0]
    edits = {"unlearn": lambda: unlearn(model, sae, cats), "replace": lambda: cat_to_dog(model), "plain": lambda: model}
    edited = edits[edit]()
    copied = edited.deepclone_multigpu()
    assert copied.model is not edited.model
    expected = sample(miniature, edited, SHOT)
    assert torch.equal(sample(miniature, copied, SHOT), expected)
    assert torch.equal(expected, sample(miniature, model, SHOT)) is (edit == "plain")


@needs_newer
def test_clip_and_vae_can_be_copied_too(miniature):
    _, clip, vae = miniature
    for patcher in (clip.patcher, vae.patcher):
        copied = patcher.deepclone_multigpu()
        weights, same = patcher.model_state_dict(), copied.model_state_dict()
        assert weights.keys() == same.keys() and all(torch.equal(weights[name], same[name]) for name in weights)
        assert copied.model is not patcher.model


@needs_newer
def test_an_sae_with_weights_that_are_loaded_when_needed(miniature, sae, cats):
    """As on a GPU with the host's dynamic memory management, for all that a CPU can show of it."""
    dynamic = comfy.model_patcher.ModelPatcherDynamic(
        load_sae().module, load_device=torch.device("cpu"), offload_device=torch.device("cpu")
    )
    expected = sample(miniature, unlearn(miniature[0], sae, cats), SHOT)
    assert torch.equal(sample(miniature, unlearn(miniature[0], sae._replace(patcher=dynamic), cats), SHOT), expected)


def test_saes_and_the_miniature_are_in_the_hosts_own_kind_of_patcher(miniature, sae, monkeypatch):
    """One plain patcher among the models of a run turns dynamic memory management off for all of them."""
    kind = type("CoreModelPatcher", (comfy.model_patcher.ModelPatcher,), {})
    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", kind, raising=False)
    patcher_for = pack("nodes.host.patchers").patcher_for
    assert type(load_sae().patcher) is type(patcher_for(sae.module)) is kind
    assert type(patcher_for(sae.module, whole=True)) is comfy.model_patcher.ModelPatcher


@pytest.mark.skipif(
    "search_aliases" not in {field.name for field in fields(io.Schema)}, reason="this ComfyUI's search knows no aliases"
)
@pytest.mark.parametrize("typed", ["forget", "unlearn", "erase", "remove concept", "negative prompt", "sae"])
def test_the_search_finds_the_nodes_under_what_people_type(typed):
    # Not by asking the extension for its list, which puts a check around each class for good.
    nodes = [each for name, each in vars(pack("nodes.extension")).items() if name.startswith("Saeuron")]
    schemas = [node.define_schema() for node in nodes if issubclass(node, io.ComfyNode)]
    found = {schema.node_id for schema in schemas if typed in schema.search_aliases}
    assert found >= {"SaeuronForget", "SaeuronUnlearn", "SaeuronReplace"}
