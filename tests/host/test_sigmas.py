"""SIGMAS of a scheduler node: statistics and drawing have one schedule."""

from __future__ import annotations

import pytest
import torch

from support.host_graph import Shot, sample
from tools.pack import pack

SETTINGS = {"sampler_name": "euler", "scheduler": "karras", "steps": 7, "cfg": 1.0, "width": 64, "height": 64}
INPUTS = ("SaeuronCollectStatistics", "SaeuronFeatureExamples", "SaeuronFeatureHeatmap", "SaeuronFindFeatures",
          "SaeuronMultiplierSweep")  # fmt: skip


def turbo(model, steps=2):
    """What SDTurboScheduler gives: noise levels that no scheduler of the list has."""
    from comfy_extras.nodes_custom_sampler import SDTurboScheduler

    scheduler = SDTurboScheduler()
    run = getattr(scheduler, "get_sigmas", None) or scheduler.execute
    sigmas = run(model, steps, 1.0)
    return (sigmas if isinstance(sigmas, tuple) else sigmas.result)[0]


def collect(miniature, sae, sigmas=None, **changes):
    model, clip, _ = miniature
    node = pack("nodes.statistics").SaeuronCollectStatistics
    settings = {**SETTINGS, **changes}
    return node.execute(model, clip, sae, "a cat\na dog", seed=3, sigmas=sigmas, **settings).result[0]


def test_statistics_have_the_sigmas_and_record_them(miniature, sae):
    sigmas = turbo(miniature[0])
    statistics = collect(miniature, sae, sigmas)
    assert statistics.sigmas == tuple(sigmas[:-1].tolist())
    assert statistics.images.tolist() == [2, 2]
    assert statistics.sampling == {
        "sampler": "euler", "steps": 2, "cfg": 1.0, "width": 64, "height": 64, "sigmas": sigmas.tolist(),
    }  # fmt: skip


def test_a_schedulers_own_sigmas_change_nothing(miniature, sae):
    plain = collect(miniature, sae, steps=2)
    settings = pack("nodes.host.inputs").SamplingSettings.from_inputs(**{**SETTINGS, "steps": 2})
    sigmas = pack("nodes.host.drawing").schedule(miniature[0], settings)
    given = collect(miniature, sae, sigmas)
    assert torch.equal(plain.total, given.total) and plain.sigmas == given.sigmas
    assert plain.sampling == {"sampler": "euler", "scheduler": "karras", "steps": 2, "cfg": 1.0, "width": 64,
                              "height": 64}  # fmt: skip


def test_pictures_are_those_of_samplercustom(miniature, sae, cats):
    model, _, vae = miniature
    sigmas = turbo(model)
    node = pack("nodes.heatmap").SaeuronFeatureHeatmap
    overlays, picture, _, _ = node.execute(
        *miniature, sae, cats, "a cat", "per step", seed=5, sigmas=sigmas, **SETTINGS
    ).result
    expected = sample(miniature, model, Shot(width=64, height=64), "a cat", sigmas)
    assert torch.equal(picture, vae.decode(expected))
    assert len(overlays) == 2


def test_the_first_part_of_a_schedule_is_recorded_step_by_step(miniature, sae):
    """Split Sigmas: the last level is where the last step ends, whether it is 0 or not."""
    statistics = collect(miniature, sae, turbo(miniature[0], steps=3)[:3])
    assert len(statistics.sigmas) == 2 and statistics.images.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([], "hold no step: nothing"),
        ([14.6], "hold no step: 14.6"),
        ([0.0, 0.0, 0.0], "all 0"),
        ([14.6, float("nan"), 0.0], "finite"),
        ([0.0, 1.0, 14.6], "descending"),
    ],
)
def test_what_is_no_schedule_is_refused_before_anything_is_drawn(miniature, sae, monkeypatch, sigmas, message):
    import comfy.sample

    monkeypatch.setattr(comfy.sample, "sample_custom", None)
    with pytest.raises(ValueError, match=message):
        collect(miniature, sae, torch.tensor(sigmas))


def test_a_scheduler_that_gives_no_numbers_is_named(miniature, sae):
    with pytest.raises(ValueError, match=r"kl_optimal has no schedule for steps = 1.*nan"):
        collect(miniature, sae, scheduler="kl_optimal", steps=1)


@pytest.mark.parametrize("name", INPUTS)
def test_the_input_is_the_last_and_optional(miniature, name):
    schema = node_class(name).define_schema()
    assert schema.inputs[-1].id == "sigmas" and schema.inputs[-1].optional


def node_class(name):
    modules = ("statistics", "heatmap", "find", "sweep")
    return next(getattr(m, name) for m in (pack(f"nodes.{module}") for module in modules) if hasattr(m, name))
