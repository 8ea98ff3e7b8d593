"""Train SAE on the host's sampling: what is read, what is saved, and what stays when it is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from support.companions import free_u
from support.host_graph import Spy, at_every_step
from support.other_packs import wrapped
from tools.pack import pack as import_from_pack

PROMPTS = "a cat\na dog in gray style\na tower"
SETTINGS = {
    "hookpoint": "up_blocks.0.attentions.1", "kind": "update", "prompts": PROMPTS, "expansion": 1, "k": 4,
    "activation": "topk", "training_steps": 40, "batch_tokens": 48, "pictures": 12, "held_out": 6, "labelled": False,
    "seed": 3, "sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 2, "cfg": 1.0, "width": 64, "height": 64,
}  # fmt: skip


def train(miniature, name, **changes):
    model, clip, _ = miniature
    return import_from_pack("nodes.train").SaeuronTrainSAE.execute(model, clip, name, **{**SETTINGS, **changes})


def saved(name):
    import folder_paths

    return Path(folder_paths.models_dir) / "saes" / f"{name}.safetensors"


@pytest.fixture
def previews(miniature, monkeypatch):
    """What the host's progress hook is handed."""
    import comfy.utils

    seen: list[tuple[int, int, object]] = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: seen.append((value, total, preview))
    )
    at_every_step(monkeypatch)
    return seen


def test_trains_saves_and_reports(miniature, previews):
    sae, plot, report = train(miniature, "first", labelled=True, prompts="a | a cat\nb | a dog").result
    assert (sae.identity.d, sae.identity.n, sae.identity.k, sae.identity.kind) == (192, 192, 4, "update")
    assert sae.identity.base_model == "saeuron-miniature"
    loaded = import_from_pack("nodes.load").SaeuronLoadSAE.execute("first.safetensors", *["from file"] * 3).result[0]
    assert loaded.identity == sae.identity
    assert loaded.figures == sae.figures and sae.figures.model == "saeuron-miniature" and sae.figures.unexplained < 1.5
    assert plot.shape[-1] == 3 and float(plot.min()) >= 0 and float(plot.max()) <= 1
    for word in ("unexplained", "features a token", "dead", "always on", "AUC", "recovers", "deviation"):
        assert word in report
    plots = [preview for value, total, preview in previews if total == 40 and preview is not None]
    assert len(plots) == 40 and plots[0][0] == "PNG" and plots[0][1].size[0] > 300
    unlearned = import_from_pack("nodes.find").SaeuronFeaturesByIndex.execute(sae, "3, 5", "c").result[0]
    assert unlearned.sae == sae.identity


def test_what_is_read_is_what_the_block_computes(miniature):
    unet = import_from_pack("nodes.host.unet")
    reading = import_from_pack("nodes.host.activations")
    inputs = import_from_pack("nodes.host.inputs")
    model, clip, _ = miniature
    settings = inputs.SamplingSettings("euler", "sgm_uniform", 2, 2.0, 64, 64)
    block = unet.find_block(model, "up_blocks.0.attentions.1", "update")
    drawn = reading.HostActivations(model, clip, settings, block, "up_blocks.0.attentions.1", ["a cat"], [], 9)
    with torch.inference_mode(False), Spy(model) as spy:
        tokens = drawn.read([0])["up_blocks.0.attentions.1"]
    assert tokens.shape == (1, 2, 4, 192) and tokens.dtype == torch.float16 and not tokens.is_inference()
    updates = [after - before for before, after in zip(spy.inputs, spy.outputs, strict=True)]
    both = [update.permute(0, 2, 3, 1).flatten(1, 2) for update in updates]  # BCHW -> BtC
    for step in range(2):
        distances = [(row - tokens[0, step].float()).abs().max() for row in both[step].float()]
        assert min(distances) < 0.02 < max(distances)  # at cfg 2 the host runs both halves at once


def interrupt_at(monkeypatch, step):
    """The person presses Cancel after that step of 40."""
    import comfy.model_management
    import comfy.utils

    def hook(value, total, _preview, **_):
        if (value, total) == (step, 40):
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    at_every_step(monkeypatch)


def test_an_interrupt_keeps_the_best(miniature, monkeypatch):
    import comfy.model_management

    interrupt_at(monkeypatch, 30)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(miniature, "interrupted")
    assert saved("interrupted").stat().st_size > 192 * 192 * 4
    comfy.model_management.interrupt_current_processing(False)


def checkpoints(name):
    import folder_paths

    return sorted(Path(folder_paths.get_user_directory()).glob(f"saeuron/training/{name}-*/*/checkpoints/*"))


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_the_same_training_goes_on_bit_for_bit_where_it_was_ended(miniature, monkeypatch, activation):
    import comfy.model_management

    whole = train(miniature, "whole", activation=activation).result
    assert not checkpoints("whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 30)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            train(miniature, "ended", activation=activation)
    comfy.model_management.interrupt_current_processing(False)
    assert len(checkpoints("ended")) == 1
    again = train(miniature, "ended", activation=activation)
    assert again.ui.as_dict()["text"][0].startswith("Went on after step 28, where it had been ended.")
    assert saved("ended").read_bytes() == saved("whole").read_bytes()
    assert again.result[2] == whole[2].replace("whole", "ended")
    assert not checkpoints("ended")


def another_pack(model, clip):
    return free_u(model), clip


def another_wrapper(model, clip):
    return wrapped(model, lambda apply, args: apply(args["input"] * 1.2, args["timestep"], **args["c"])), clip


def an_earlier_layer(model, clip):
    clip = clip.clone()
    clip.clip_layer(-2)
    return model, clip


def test_does_not_go_on_where_another_node_has_changed_what_is_drawn(miniature, monkeypatch):
    """Nothing in the settings tells it, and over a restart no function can be told from another."""
    import comfy.model_management

    model, clip, vae = miniature
    with monkeypatch.context() as patch:
        interrupt_at(patch, 16)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            train(miniature, "patched")
    comfy.model_management.interrupt_current_processing(False)
    kept = checkpoints("patched")
    for change in (another_pack, another_wrapper, an_earlier_layer):
        with pytest.raises(ValueError, match=r"begun on other activations.*on Train SAE another name"):
            train((*change(model, clip), vae), "patched")
    assert checkpoints("patched") == kept != []


def test_another_training_of_that_name_begins_anew(miniature, monkeypatch):
    import comfy.model_management

    whole = train(miniature, "other", seed=4)
    whole_bytes = saved("other").read_bytes()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 30)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            train(miniature, "other")
    comfy.model_management.interrupt_current_processing(False)
    again = train(miniature, "other", seed=4)
    assert "Went on" not in again.ui.as_dict()["text"][0] and again.result[2] == whole.result[2]
    assert saved("other").read_bytes() == whole_bytes
    assert not checkpoints("other")


def test_goes_on_from_another_sae(miniature):
    first = train(miniature, "cold").result
    second = train(miniature, "warm", start=first[0], training_steps=10).result

    def unexplained(report):
        return float(report.split("leaves ")[1].split("%")[0])

    assert unexplained(second[2]) < unexplained(first[2]) + 1
    assert torch.is_inference_mode_enabled()


def test_the_model_is_as_before(miniature):
    model, *_ = miniature
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    train(miniature, "harmless", training_steps=4)
    after = model.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(parameter.requires_grad and parameter.grad is not None for parameter in model.model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": "# nothing"}, "no prompts"),
        ({"hookpoint": "down_blocks.0.attentions.0"}, "has no block"),
        ({"k": 193}, "between 1 and n"),
        ({"labelled": True}, "no label"),
        ({"name": "../out"}, "can't be used"),
        ({"batch_tokens": 100_000}, "fewer tokens"),
    ],
)
def test_wrong_input_is_told(miniature, changes, message):
    with pytest.raises(ValueError, match=message):
        train(miniature, changes.pop("name", "wrong"), **changes)


def test_batchtopk_is_saved_with_its_threshold(miniature):
    sae = train(miniature, "batched", activation="batchtopk").result[0]
    assert (sae.identity.activation, sae.identity.k) == ("jumprelu", 4)
    assert (sae.module.threshold > 0).all()
    load = import_from_pack("nodes.load").SaeuronLoadSAE
    by_token = load.execute("batched.safetensors", *["from file"] * 3, "topk").result[0]
    assert by_token.identity.activation == "topk"
