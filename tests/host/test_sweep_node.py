"""Multiplier Sweep on the host's sampling: the same noise everywhere, nothing lost when it is interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from support.host_graph import unlearn
from tools.pack import pack as import_from_pack

SETTINGS = {
    "multipliers": "-5, -20", "prompts": "a cat\na small cat on the left", "other_prompts": "dogs | a dog", "seeds": 2,
    "seed": 7, "mode": "exact", "rule": "gamma-mu", "sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 2,
    "cfg": 1.0, "width": 64, "height": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier(pack):
    node = import_from_pack("nodes.evaluation").SaeuronLoadClassifier
    return node.execute("miniature-objects").result[0]


def sweep(miniature, sae, feature_set, **changes):
    node = import_from_pack("nodes.sweep").SaeuronMultiplierSweep
    return node.execute(*miniature, sae, feature_set, **{**SETTINGS, **changes})


def pipeline(miniature, sae, **changes):
    values = {"sampler": "euler", "scheduler": "sgm_uniform", "steps": 2, "cfg": 1.0, "width": 64, "height": 64}
    settings = import_from_pack("nodes.host.inputs").SamplingSettings(**{**values, **changes})
    return import_from_pack("nodes.host.drawing").HostPipeline(*miniature, sae, settings, 8)


def shots(*pairs):
    return [import_from_pack("saeuron.shots").Shot(*pair) for pair in pairs]


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_a_picture_is_that_of_its_own_prompt_and_seed_in_any_batch(miniature, sae, cats, cfg):
    mixed = shots(("a cat", 3), ("a very small dog " * 20, 4), ("a dog in gray style", 5), ("a cat", 6))
    drawing = pipeline(miniature, sae, cfg=cfg)
    together = drawing.draw(mixed)
    assert together.shape == (4, 64, 64, 3) and together.dtype == np.uint8
    for shot, picture in zip(mixed, together, strict=True):
        alone = drawing.draw([shot])[0].astype(int)
        assert (abs(alone - picture) <= 2).mean() > 0.99  # a batch rounds differently
    assert (abs(together[0].astype(int) - together[3]) > 8).any()


def test_the_pipeline_draws_what_the_sampler_node_draws(miniature, sae, cats):
    from nodes import KSampler, VAEDecode

    model, clip, vae = miniature
    intervention = import_from_pack("saeuron.edits.intervention").Intervention(cats, -20.0)
    drawn = pipeline(miniature, sae).draw(shots(("a cat", 11)), [intervention])
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a cat", ""))
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    patched = unlearn(model, sae, cats)
    samples = KSampler().sample(patched, 11, 2, 1.0, "euler", "sgm_uniform", positive, negative, latent, 1.0)[0]
    expected = (VAEDecode().decode(vae, samples)[0] * 255).round().byte().numpy()
    assert (drawn == expected).all()


def test_the_outputs(miniature, sae, cats, classifier):
    result = sweep(miniature, sae, cats, classifier=classifier, concept_label="Cats").result
    grid, plot, text, table = result
    for image in (grid, plot):
        assert image.dtype == torch.float32 and image.ndim == 4 and image.shape[3] == 3
        assert float(image.min()) >= 0 and float(image.max()) <= 1
    found = json.loads(text)
    assert [point["multiplier"] for point in found["points"]] == [None, -5.0, -20.0]
    assert (found["concept_pictures"], found["other_pictures"]) == (4, 2)
    for point in found["points"]:
        assert 0 <= point["unlearning_accuracy"] <= 1 and 0 <= point["retained_accuracy"] <= 1
    assert table.count("%") == 6


def test_the_model_is_as_before(miniature, sae, cats):
    drawing = pipeline(miniature, sae)
    before = drawing.draw(shots(("a cat", 1)))
    sweep(miniature, sae, cats, multipliers="-80")
    assert (drawing.draw(shots(("a cat", 1))) == before).all()


def test_an_interrupt_keeps_what_is_there(miniature, sae, cats, monkeypatch):
    import comfy.model_management
    import folder_paths

    library = import_from_pack("saeuron.evaluation.sweep").Sweep
    whole, columns = library._draw, []

    def draw(self, interventions):
        if len(columns) == 2:
            raise comfy.model_management.InterruptProcessingException
        columns.append(interventions)
        return whole(self, interventions)

    monkeypatch.setattr(library, "_draw", draw)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sweep(miniature, sae, cats)
    kept = Path(folder_paths.get_output_directory()) / "saeuron" / "sweep_00001_unfinished.json"
    assert [point["multiplier"] for point in json.loads(kept.read_text())] == [None, -5.0]
    assert kept.with_suffix(".png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multipliers": "left"}, "Multipliers are numbers"),
        ({"prompts": "# nothing"}, "no prompts"),
        ({"concept_label": "unicorns"}, "unicorns"),
        ({"other_prompts": "a dog"}, "no label"),
    ],
)
def test_wrong_input_is_told_before_anything_is_drawn(miniature, sae, cats, classifier, monkeypatch, changes, message):
    monkeypatch.setattr(import_from_pack("nodes.host.drawing").HostPipeline, "draw_batches", None)
    settings = {"classifier": classifier, "concept_label": "cats", **changes}
    with pytest.raises(ValueError, match=message):
        sweep(miniature, sae, cats, **settings)
