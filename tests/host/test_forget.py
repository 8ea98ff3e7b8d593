"""Forget on the host's own classes: what it finds, what it keeps, and when it has to look again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saeuron.miniature.architecture import DECISIVE
from support.host_graph import Shot, load_sae, sample
from tools.host.unpack import REPOSITORY
from tools.pack import pack

HOOKPOINT = DECISIVE["objects"]
JUDGES = REPOSITORY / "saeuron" / "miniature" / "classifiers"
SHOT = Shot(steps=2)


@pytest.fixture(scope="module")
def decisive_sae(sae):
    return load_sae(HOOKPOINT)


@pytest.fixture
def folder() -> Path:
    """Where Forget keeps what it finds; of this test run only."""
    import folder_paths

    return Path(folder_paths.models_dir) / "feature_sets" / "forget"


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """How many pictures were drawn to collect statistics, batch by batch."""
    found: list[int] = []
    drawing = pack("nodes.host.drawing").BatchSampler
    plain = drawing.sample
    monkeypatch.setattr(
        drawing, "sample", lambda self, model, shots: (found.append(len(shots)), plain(self, model, shots))[1]
    )
    return found


def forget(model, clip, sae, concepts, strength=100.0):
    return pack("nodes.forget").SaeuronForget.execute(model, clip, sae, concepts, strength).result


@pytest.fixture(scope="module")
def forgotten(miniature, decisive_sae):
    return forget(*miniature[:2], decisive_sae, "cat -> dog")


def test_it_draws_something_else_and_leaves_the_rest_alone(miniature, forgotten):
    patched, (feature_set,) = forgotten
    found, of = feature_set.detector.true_positives
    mistaken, others = feature_set.detector.false_positives
    assert found >= 0.9 * of and mistaken <= 0.1 * others
    for prompt, stays in (("a cat in twemoji style", False), ("a tower in gray style", True), ("a dog", True)):
        plain, edited = (sample(miniature, model, SHOT, prompt) for model in (miniature[0], patched))
        assert torch.equal(plain, edited) is stays, prompt


def test_a_style_becomes_another_in_the_whole_picture(miniature, decisive_sae):
    model, clip, vae = miniature
    judge = pack("saeuron.evaluation.classifier").Classifier(JUDGES / "styles")
    patched, _ = forget(model, clip, load_sae(DECISIVE["styles"]), "gray style -> contrast style")
    how = Shot(steps=8, width=192, height=192)
    seen = {}
    for prompt in ("a cat in gray style", "a tower in the gray style", "a bear in crayon style"):
        for name, on in (("before", model), ("after", patched)):
            picture = (vae.decode(sample(miniature, on, how, prompt)) * 255).round().byte()
            seen.setdefault(name, []).extend(judge.classify(picture.numpy()))
    assert seen == {"before": ["gray", "gray", "crayon"], "after": ["contrast", "contrast", "crayon"]}


def test_strength_0_is_off(miniature, decisive_sae, forgotten):
    patched, _ = forget(*miniature[:2], decisive_sae, "cat -> dog", 0.0)
    assert torch.equal(sample(miniature, patched, SHOT), sample(miniature, miniature[0], SHOT))


def test_it_looks_once_for_each_concept_model_and_sae(miniature, decisive_sae, forgotten, runs, folder):
    model, clip, _ = miniature
    _, (feature_set,) = forget(model, clip, decisive_sae, "CAT -> rabbit")
    assert not runs and feature_set.to_json() == forgotten[1][0].to_json()
    changed = model.clone()
    name, weight = next((n, p) for n, p in sorted(model.model.named_parameters()) if n.endswith("attn2.to_k.weight"))
    changed.add_patches({name: (torch.ones_like(weight),)}, 0.5)
    forget(changed, clip, decisive_sae, "cat -> dog")
    assert sum(runs) > 30, "a model with a patch is another one"
    runs.clear()
    forget(model, clip, decisive_sae, "bear")
    assert sum(runs) == 30, "what the others look like was known"
    runs.clear()
    forget(model.clone(), clip, decisive_sae, "bear\ncat")
    assert not runs
    assert not list(folder.glob("*.tmp*"))


def test_a_clip_that_stops_at_another_layer_is_another(miniature, decisive_sae, forgotten, runs):
    from nodes import CLIPSetLastLayer

    model, clip, _ = miniature
    (stopped,) = CLIPSetLastLayer().set_last_layer(clip, -2)
    forget(model, stopped, decisive_sae, "cat -> dog")
    assert sum(runs) > 30
    runs.clear()
    forget(model, stopped, decisive_sae, "cat -> dog")
    forget(model, clip, decisive_sae, "cat -> dog")
    assert not runs


def test_weights_that_have_been_loaded_and_patched_are_still_the_same(miniature, decisive_sae, forgotten):
    import comfy.model_management

    digest, (model, clip, _) = pack("nodes.host.weights").weights_digest, miniature
    changed = model.clone()
    name = sorted(n for n, _ in model.model.named_parameters() if n.endswith("attn2.to_k.weight"))[0]
    changed.add_patches({name: (torch.ones_like(dict(model.model.named_parameters())[name]),)}, 0.5)
    before = digest(model), digest(changed)
    sample(miniature, changed, SHOT)
    assert (digest(model), digest(changed)) == before
    sample(miniature, model, SHOT)
    comfy.model_management.unload_all_models()
    assert (digest(model), digest(changed)) == before and before[0] != before[1]
    other_strength = model.clone()
    other_strength.add_patches({name: (torch.ones(1),)}, 0.25)
    assert digest(other_strength) not in before and digest(clip.patcher) != before[0]


def test_a_damaged_file_is_named_and_not_lost(miniature, decisive_sae, forgotten, folder):
    saved = json.loads(forgotten[1][0].to_json())
    (file,) = [path for path in folder.glob("cat-*.json") if json.loads(path.read_text()) == saved]
    text = file.read_text()
    try:
        file.write_text(text[: len(text) // 2])
        with pytest.raises(ValueError, match=r"Forget made this file; delete it.*cat-"):
            forget(*miniature[:2], decisive_sae, "cat -> dog")
        assert file.read_text() == text[: len(text) // 2]
    finally:
        file.write_text(text)


@pytest.mark.parametrize(("concepts", "message"), [("", "Name 1 to"), ("-> dog", "Line 1")])
def test_what_a_person_gets_wrong(miniature, decisive_sae, concepts, message):
    with pytest.raises(ValueError, match=message):
        forget(*miniature[:2], decisive_sae, concepts)


def test_a_checkpoint_without_clip(miniature, decisive_sae):
    with pytest.raises(ValueError, match="CLIP"):
        forget(miniature[0], None, decisive_sae, "cat")
