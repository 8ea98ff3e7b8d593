"""The reference path on diffusers and NNsight against the patch on ComfyUI: the same weights give the same numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from support.both_paths import SIZES, Kept, assert_near, assert_same_pictures, host_pipeline, reference_pipeline
from support.host_graph import Shot, Spy, sample, unlearn
from tools.pack import pack

TEXT, OTHER = "a cat in twemoji style", "a tower in gray style"
MULTIPLIERS = {"exact": -5.0, "seed": -1.0, "saeuron-code": -1.0}


@pytest.fixture(scope="module")
def make(sae):
    """A `ReferencePipeline` of the miniature with some settings."""
    assert reference_pipeline().loaded.identity == sae.identity
    return reference_pipeline


def shot_of(seed: int = 5, text: str = TEXT):
    return pack("saeuron.shots").Shot(text, seed)


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_nnsight_reads_at_the_hookpoint_what_the_hosts_hook_reads(miniature, make, cfg):
    kept = Kept()
    latents = kept.sample(make(cfg=cfg), [shot_of()])
    with Spy(miniature[0]) as spy:
        expected = sample(miniature, miniature[0], Shot(cfg=cfg))
    assert len(kept) == len(spy.outputs) == 2
    assert_near(kept[0][0], spy.inputs[0])
    assert_near(kept[0][1], spy.outputs[0])
    assert_near(latents, expected * 0.13025, 1e-3)


@pytest.mark.parametrize("mode", MULTIPLIERS)
def test_an_edited_step_is_the_hosts(miniature, sae, cats, make, mode):
    multiplier, pipeline = MULTIPLIERS[mode], make()
    intervention = pack("saeuron.edits.intervention").Intervention(cats, multiplier, mode)
    kept = Kept(partial(apply_edits(), pipeline.loaded.sae, pipeline.loaded.identity.kind, [intervention]))
    kept.sample(pipeline, [shot_of()])
    with Spy(miniature[0]) as spy:
        sample(miniature, unlearn(miniature[0], sae, cats, multiplier, mode=mode), Shot())
    assert not torch.equal(kept[0][1], kept[0][2]), "nothing was edited"
    assert_near(kept[0][2], spy.edited[0])


@pytest.mark.parametrize("mode", MULTIPLIERS)
@pytest.mark.parametrize("halves", ["positive", "negative"])
def test_an_edit_of_one_half_is_the_hosts_and_leaves_the_other_half_alone(miniature, sae, cats, make, halves, mode):
    multiplier, pipeline = MULTIPLIERS[mode], make(cfg=2.0)
    intervention = pack("saeuron.edits.intervention").Intervention(cats, multiplier, mode, when=when_of(halves))
    kept = Kept(partial(apply_edits(), pipeline.loaded.sae, pipeline.loaded.identity.kind, [intervention]))
    kept.sample(pipeline, [shot_of()])
    with Spy(miniature[0]) as spy:
        sample(miniature, unlearn(miniature[0], sae, cats, multiplier, mode=mode, halves=halves), Shot(cfg=2.0))
    changed = [any(not torch.equal(output[row], edited[row]) for _, output, edited in kept) for row in range(2)]
    assert changed == ([True, False] if halves == "negative" else [False, True])
    for (_, _, edited), expected in zip(kept, spy.edited, strict=True):
        assert_near(edited, expected, 1e-3)  # a later step starts from what the one before rounded


@pytest.mark.parametrize("halves", ["positive", "negative"])
def test_a_guided_picture_with_an_edit_of_one_half_is_the_hosts(miniature, sae, cats, make, halves):
    interventions = [pack("saeuron.edits.intervention").Intervention(cats, MULTIPLIERS["exact"], when=when_of(halves))]
    shots, negative = [shot_of(5), shot_of(6, OTHER)], "a dog in gray style"
    host = host_pipeline(miniature, sae, 2.0, len(shots), negative).draw(shots, interventions)
    pipeline = make(cfg=2.0, negative=negative)
    assert_same_pictures(host, pipeline.draw(shots, interventions))
    assert not np.array_equal(pipeline.draw(shots), pipeline.draw(shots, interventions)), "nothing was edited"


def apply_edits():
    return pack("saeuron.edits.apply").apply_edits


def when_of(halves: str):
    return pack("saeuron.edits.when").When(halves=halves)


@pytest.fixture(scope="module")
def statistics(miniature, sae, make):
    """Of both paths, for the concept and for other prompts: {path: (concept, others)}."""
    model, clip, _ = miniature
    node = pack("nodes.statistics").SaeuronCollectStatistics
    settings = {"sampler_name": "euler", "scheduler": "sgm_uniform", "cfg": 1.0, **SIZES}
    with torch.inference_mode():
        host = tuple(node.execute(model, clip, sae, text, seed=5, **settings).result[0] for text in (TEXT, OTHER))
    return {"host": host, "reference": tuple(make().collect([shot_of(5, text)]) for text in (TEXT, OTHER))}


def test_statistics_are_the_same_and_can_be_merged(statistics):
    for host, reference in zip(statistics["host"], statistics["reference"], strict=True):
        assert torch.equal(host.tokens, reference.tokens)
        assert_near(reference.mean(per_step=True)[0], host.mean(per_step=True)[0])
        assert_near(reference.mean(per_step=False), host.mean(per_step=False), 1e-3)
        assert host.merge(reference).prompts == 2


def chosen(statistics, path: str):
    selection = pack("saeuron.features.selection")
    return replace(
        selection.select_features(*statistics[path], selection.SelectionSettings(tau=5, dead=0, overactive=1)),
        concept="cats",
    )


@pytest.mark.parametrize("mode", MULTIPLIERS)
@pytest.mark.parametrize("path", ["host", "reference"])
def test_a_feature_set_of_either_path_gives_the_same_pictures_in_both(miniature, sae, make, statistics, path, mode):
    feature_set = chosen(statistics, path)
    other = chosen(statistics, "host" if path == "reference" else "reference")
    assert [f.index for f in feature_set.steps[0].features] == [f.index for f in other.steps[0].features]
    intervention = pack("saeuron.edits.intervention").Intervention(feature_set, MULTIPLIERS[mode], mode)
    shots = [shot_of(5), shot_of(6, OTHER)]
    reference = make().draw(shots, [intervention])
    assert_same_pictures(host_pipeline(miniature, sae, 1.0, len(shots)).draw(shots, [intervention]), reference)
    assert not np.array_equal(reference[0], make().draw(shots[:1])[0]), "nothing was edited"


def test_a_full_size_transformer_block_is_the_hosts():
    import comfy.ops
    from comfy.ldm.modules.attention import SpatialTransformer
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    with torch.device("meta"):
        ours = Transformer2DModel(20, 64, 1280, num_layers=10, cross_attention_dim=2048, use_linear_projection=True)
    layers = comfy.ops.disable_weight_init
    host = SpatialTransformer(
        1280, 20, 64, depth=10, context_dim=2048, use_linear=True, device="meta", operations=layers
    )
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, parameter in host.state_dict().items():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        weights[name] = torch.empty(parameter.shape).uniform_(-1.7 * scale, 1.7 * scale, generator=generator)
    host.load_state_dict(weights, assign=True)
    place = pack("saeuron.sae.hookpoints").find_hookpoint("up.0.1", "sdxl")
    mapped = pack("saeuron.reference.layout").unet_to_diffusers(
        {f"{place.module}.{name}": tensor for name, tensor in weights.items()}
    )
    ours.load_state_dict({name.removeprefix(f"{place.name}."): t for name, t in mapped.items()}, assign=True)
    x, context = (torch.randn(shape, generator=generator) for shape in ((1, 1280, 8, 6), (1, 77, 2048)))
    assert_near(ours(x, encoder_hidden_states=context, return_dict=False)[0], host(x, context))
