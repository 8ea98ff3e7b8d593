"""Drawing from lists of prompts: each is encoded once, before the UNet runs, and drawn as KSampler draws it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from support.host_graph import at_every_step
from tools.pack import pack

SETTINGS = {"sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 2, "cfg": 1.0, "width": 64, "height": 64}
LONG = " ".join(["a very small dog"] * 20)  # more than one chunk of tokens


class LoggingClip:
    """A CLIP that writes down what it encodes, and changes what comes out if told to."""

    def __init__(self, clip: Any, log: list, changed: Any = lambda prompt, conditioning: conditioning) -> None:
        self._clip, self._log, self._changed = clip, log, changed
        self.patcher = clip.patcher

    def tokenize(self, text: str) -> tuple[str, Any]:
        return text, self._clip.tokenize(text)

    def encode_from_tokens_scheduled(self, tokens: tuple[str, Any]) -> Any:
        text, ids = tokens
        self._log.append(("encode", text))
        return self._changed(text, self._clip.encode_from_tokens_scheduled(ids))


@pytest.fixture
def log(monkeypatch) -> list:
    """("encode", prompt) of `LoggingClip` and ("draw", rows) of the host's sampling, as they come."""
    import comfy.sample

    events: list = []
    sample = comfy.sample.sample_custom

    def logged(model, noise, *args, **kwargs):
        events.append(("draw", len(noise)))
        return sample(model, noise, *args, **kwargs)

    monkeypatch.setattr(comfy.sample, "sample_custom", logged)
    return events


def collect(model, clip, vae, sae, cats, prompts):
    return pack("nodes.statistics").SaeuronCollectStatistics.execute(model, clip, sae, prompts, seed=3, **SETTINGS)


def examples(model, clip, vae, sae, cats, prompts):
    node = pack("nodes.heatmap").SaeuronFeatureExamples
    return node.execute(model, clip, vae, sae, 7, prompts, 2, seed=3, **SETTINGS)


def sweep(model, clip, vae, sae, cats, prompts):
    node, options = pack("nodes.sweep").SaeuronMultiplierSweep, {"seeds": 2, "mode": "exact", "rule": "gamma-mu"}
    return node.execute(model, clip, vae, sae, cats, "-5, -20", prompts, "a tower", seed=3, **options, **SETTINGS)


def heat(model, clip, vae, sae, cats, prompts):
    node = pack("nodes.heatmap").SaeuronFeatureHeatmap
    return node.execute(model, clip, vae, sae, cats, prompts.splitlines()[0], "summed", seed=3, **SETTINGS)


def find(model, clip, vae, sae, cats, prompts):
    node = pack("nodes.find").SaeuronFindFeatures
    return node.execute(model, clip, sae, prompts.splitlines()[0], 3, 2, seed=3, **SETTINGS)


NODES = (collect, examples, sweep, heat, find)


def encoded(log):
    return [what for kind, what in log if kind == "encode"]


def turns(log):
    """How often CLIP had to make way for the UNet."""
    return sum(a == "encode" and b == "draw" for (a, _), (b, _) in pairwise(log))


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_prompt_is_encoded_once_before_anything_is_drawn(miniature, sae, cats, log, node):
    model, clip, vae = miniature
    prompts = ["a cat", LONG, "a dog", "a cat", "a small cat"]
    node(model, LoggingClip(clip, log), vae, sae, cats, "\n".join(prompts))
    used = {sweep: {*prompts, "a tower"}, heat: {"a cat"}, find: {"a cat"}}.get(node, set(prompts))
    assert sorted(encoded(log)) == sorted({"", *used})
    assert turns(log) == 1 and log[-1][0] == "draw"


def test_a_long_list_is_encoded_part_by_part_and_no_more_than_a_part_is_held(miniature, log, monkeypatch):
    for module in ("encoding", "drawing"):
        monkeypatch.setattr(pack(f"nodes.host.{module}"), "ENCODED_AT_ONCE", 3)
    model, clip, _ = miniature
    sampler = batch_sampler(model, LoggingClip(clip, log))
    numbers = [0, 1, 2, 3, 0, 4, 5, 6, 1]
    drawn = []
    for places, latents in sampler.run(model, shots(*(f"a cat number {n}" for n in numbers))):
        assert len(latents) == len(places) and len(sampler._texts._held) <= 3 + 1  # and the negative prompt
        drawn += places
    assert sorted(drawn) == list(range(9))
    assert sorted(encoded(log)) == sorted(["", *(f"a cat number {n}" for n in range(7))])
    assert turns(log) == 3


def test_encoding_has_progress_and_can_be_interrupted(miniature, sae, log, monkeypatch):
    import comfy.model_management
    import comfy.utils

    model, clip, _ = miniature
    seen = []

    def interrupt_at_the_second(value, total, _preview, **_):
        seen.append((value, total))
        if value == 2:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", interrupt_at_the_second)
    at_every_step(monkeypatch)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        collect(model, LoggingClip(clip, log), None, sae, None, "\n".join(f"a cat {n}" for n in range(9)))
    assert seen == [(1, 10), (2, 10)] and len(encoded(log)) == 2
    assert not [kind for kind, _ in log if kind == "draw"]


def shots(*prompts):
    return [pack("saeuron.shots").Shot(prompt, 5 + number) for number, prompt in enumerate(prompts)]


def batch_sampler(model, clip, **changes):
    settings = pack("nodes.host.inputs").SamplingSettings.from_inputs(**{**SETTINGS, **changes})
    return pack("nodes.host.drawing").BatchSampler(model, clip, settings, 99)


def as_ksampler(model, clip, shot, **changes):
    """The latent that CLIPTextEncode and KSampler give."""
    from nodes import CLIPTextEncode, KSampler

    settings = {**SETTINGS, **changes}
    positive, negative = (CLIPTextEncode().encode(clip, text)[0] for text in (shot.prompt, ""))
    latent = {"samples": torch.zeros(1, 4, settings["height"] // 8, settings["width"] // 8)}
    names = (settings[name] for name in ("steps", "cfg", "sampler_name", "scheduler"))
    return KSampler().sample(model, shot.seed, *names, positive, negative, latent, 1.0)[0]["samples"]


def drawn_alone(model, clip, asked, **changes):
    """Each shot's latent when all are given at once, and whether each was drawn in a batch of its own."""
    found, alone = {}, []
    for places, latents in batch_sampler(model, clip, **changes).run(model, asked):
        found.update(zip(places, latents.split(1), strict=True))
        alone.append(len(places) == 1)
    return [found[place] for place in range(len(asked))], all(alone)


@pytest.fixture(scope="module")
def hooked(miniature):
    """`clip -> CLIP` with a LoRA on text encoder and UNet whose strength falls half-way: Set CLIP Hooks."""
    import comfy.hooks
    import comfy.lora
    from comfy_extras.nodes_hooks import SetClipHooks

    model, clip, _ = miniature
    generator = torch.Generator().manual_seed(0)
    lora = {}
    for keys, module in (
        (comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {}), clip.cond_stage_model),
        (comfy.lora.model_lora_keys_unet(model.model, {}), model.model),
    ):
        weights = module.state_dict()
        for name, key in keys.items():
            chosen = name.startswith("lora_te") or (name.startswith("lora_unet_") and "attn2_to_" in name)
            if chosen and isinstance(key, str) and key in weights and weights[key].ndim == 2:
                rows, columns = weights[key].shape
                lora[f"{name}.lora_up.weight"] = torch.randn(rows, 2, generator=generator) * 0.1
                lora[f"{name}.lora_down.weight"] = torch.randn(2, columns, generator=generator) * 0.1
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 1.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.2, start_percent=0.5))
    hooks.set_keyframes_on_hooks(keyframes)

    def with_hooks(schedule: bool) -> Any:
        return SetClipHooks().apply_hooks(clip, schedule, True, hooks)[0]

    return with_hooks


@pytest.mark.parametrize("cfg", [1.0, 2.0])
@pytest.mark.parametrize("schedule", [False, True])
def test_a_text_encoder_with_a_schedule_draws_as_in_ksampler(miniature, hooked, schedule, cfg):
    model, clip = miniature[0], hooked(schedule)
    entries = clip.encode_from_tokens_scheduled(clip.tokenize("a cat"))
    assert len(entries) == (2 if schedule else 1)
    asked = shots("a cat", "a dog")
    latents, _ = drawn_alone(model, clip, asked, cfg=cfg)
    for shot, latent in zip(asked, latents, strict=True):
        expected = as_ksampler(model, clip, shot, cfg=cfg)
        assert torch.allclose(latent, expected, atol=1e-4)
        assert not torch.allclose(latent, as_ksampler(model, miniature[1], shot, cfg=cfg), atol=1e-2)
    (one,), _ = drawn_alone(model, clip, asked[:1], cfg=cfg)
    assert torch.equal(one, as_ksampler(model, clip, asked[0], cfg=cfg))


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_takes_a_text_encoder_with_a_schedule(miniature, sae, cats, hooked, node):
    model, _, vae = miniature
    node(model, hooked(True), vae, sae, cats, "a cat\na dog")


def test_statistics_see_each_picture_once_a_step_with_a_schedule(miniature, sae, hooked):
    """Of three steps none is where one entry ends and the next begins: there the host draws with both."""
    node = pack("nodes.statistics").SaeuronCollectStatistics
    settings = {**SETTINGS, "steps": 3, "seed": 3}
    statistics = node.execute(miniature[0], hooked(True), sae, "a cat\na dog\n" + LONG, **settings).result[0]
    assert statistics.images.tolist() == [3, 3, 3]


OPTIONS = {
    "area": (4, 4, 2, 2),
    "strength": 0.5,
    "start_percent": 0.5,
    "mask": torch.ones(1, 8, 8),
    "crop_w": 32,
}
"""What another pack's text encoder may add to a prompt."""


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("first", [True, False])
def test_what_one_prompt_brings_along_is_not_given_to_another(miniature, option, first):
    model, plain, _ = miniature

    def changed(prompt, conditioning):
        return [[text, {**own, **({option: OPTIONS[option]} if "cat" in prompt else {})}] for text, own in conditioning]

    clip = LoggingClip(plain, [], changed)
    asked = shots("a cat", "a dog") if first else shots("a dog", "a cat")
    latents, alone = drawn_alone(model, clip, asked)
    assert alone
    for shot, latent in zip(asked, latents, strict=True):
        assert torch.equal(latent, as_ksampler(model, clip, shot))


def test_prompts_that_say_the_same_besides_share_a_batch(miniature):
    model, plain, _ = miniature
    clip = LoggingClip(plain, [], lambda _, entries: [[text, {**own, "area": None, "x": 1}] for text, own in entries])
    sizes = [len(places) for places in batch_sampler(model, clip).batches(shots("a cat", LONG, "a dog", "a bird"))]
    assert sizes == [3, 1]


def test_a_text_of_several_rows_is_the_pictures_own_affair(miniature):
    """Two rows for one prompt can't be told from two prompts, so it goes alone; the host repeats it as it needs."""
    model, plain, _ = miniature

    def doubled(_, entries):
        return [
            [text.repeat(2, 1, 1), {**own, "pooled_output": own["pooled_output"].repeat(2, 1)}] for text, own in entries
        ]

    clip = LoggingClip(plain, [], doubled)
    batches = list(batch_sampler(model, clip).batches(shots("a cat", "a dog")))
    assert batches == [[0], [1]]


def test_encodings_wait_on_the_cpu(miniature):
    encodings = pack("nodes.host.encoding").EncodedPrompts(miniature[1])
    encodings.encode(["a cat"])
    ((text, options),) = encodings["a cat"]
    assert text.device.type == options["pooled_output"].device.type == "cpu"
    meta = pack("nodes.host.encoding").conditioning_of_batch([encodings["a cat"]] * 2, torch.device("meta"))
    assert meta[0][0].device.type == meta[0][1]["pooled_output"].device.type == "meta"
