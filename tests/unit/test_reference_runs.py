"""Runs of the reference path on the tiny pipeline: modules read in order, calls that stop, what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saeuron.edits.replace import Replacement
from saeuron.edits.steering import Steering
from saeuron.errors import SaeuronError
from saeuron.features.detector import Detector
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.kept_pictures import KeptPictures
from saeuron.noising import noised
from saeuron.reference.models import model_of
from saeuron.reference.pipeline import ReferencePipeline
from saeuron.reference.replacing import ReferenceReplacement
from saeuron.reference.sampling import ReferenceSettings, Start
from saeuron.reference.tracing import Stop, TracedUNet
from saeuron.sae.files import LoadedSAE
from saeuron.sae.model import SAEIdentity
from saeuron.shots import Shot
from support.reference import random_sae
from support.tiny_pipeline import WIDTH, make_pipeline

N, K = 32, 4
HOOKPOINT = "up_blocks.0.attentions.1"
IDENTITY = SAEIdentity("", "saeuron-miniature", HOOKPOINT, "update", WIDTH, N, K)
SHOTS = [Shot("a cat", 1), Shot("two dogs and a tree", 2), Shot("a cat", 3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_of(make_pipeline(tmp_path_factory.mktemp("vocabulary")))


@pytest.fixture
def load(model):
    loaded = LoadedSAE(random_sae(WIDTH, N, K, seed=0), IDENTITY)
    return lambda **settings: ReferencePipeline(model, loaded, ReferenceSettings(**settings))


def replacing(gate: float = 0.0, **settings) -> ReferenceReplacement:
    """Of a feature set that marks every token; a gate of 1 never opens."""
    features = tuple(Feature(index, mean_all=0.0) for index in range(N))
    feature_set = FeatureSet(
        "all", IDENTITY, {}, {}, (FeatureStep(None, features),), detector=Detector(at_least=1, gate=gate)
    )
    return ReferenceReplacement(Replacement(feature_set, **settings), "a cat", "a red house")


def arguments(model, pictures: int = 2):
    """Of a call of the UNet."""
    text, pooled = model.encode(["a cat"] * pictures)
    conditioning = {"text_embeds": pooled, "time_ids": torch.ones(pictures, 6)}
    latents = torch.randn(pictures, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return (latents, torch.tensor(500)), {"encoder_hidden_states": text, "added_cond_kwargs": conditioning}


def hooked(unet, paths, args, kwargs):
    """What torch's own hooks see at `paths`: path, input and output, in the order in which the modules end."""
    seen = []
    handles = [
        unet.get_submodule(path).register_forward_hook(
            lambda _, given, out, path=path: seen.append((path, given[0], out))
        )
        for path in paths
    ]
    with torch.inference_mode():
        unet(*args, **kwargs, return_dict=False)
    for handle in handles:
        handle.remove()
    return seen


def channels_last(x):
    x = x[0] if isinstance(x, tuple) else x
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def test_readers_see_what_the_modules_get_and_give_one_within_another(model):
    layers = [name for name, _ in model.unet.named_modules() if name.endswith(".attn2")]
    paths, (args, kwargs), seen = [HOOKPOINT, *reversed(layers)], arguments(model), []
    TracedUNet(model.unet)({path: lambda x, y, path=path: seen.append((path, x, y)) for path in paths}, *args, **kwargs)
    expected = hooked(model.unet, paths, args, kwargs)
    assert len(layers) > 10 and [path for path, *_ in seen] == [path for path, *_ in expected]
    for (_, *own), (_, *other) in zip(seen, expected, strict=True):
        assert all(torch.equal(a, channels_last(b)) for a, b in zip(own, other, strict=True))


def test_edits_of_a_layer_and_of_the_block_around_it_both_count(model):
    unet, (args, kwargs) = TracedUNet(model.unet), arguments(model)
    inner = f"{HOOKPOINT}.transformer_blocks.1.attn2"

    def twice(_x, y):
        return 2 * y

    drawn = [unet(readers, *args, **kwargs) for readers in ({}, {inner: twice}, {HOOKPOINT: twice, inner: twice})]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


@pytest.mark.parametrize("error", [Stop, SaeuronError])
def test_what_a_reader_raises_ends_the_call_and_the_next_one_is_whole(model, error):
    unet, (args, kwargs), reached = TracedUNet(model.unet), arguments(model), []

    def stop(_x, _y):
        raise error("enough")

    plain = unet({}, *args, **kwargs)
    after = "up_blocks.0.attentions.2.transformer_blocks.0.attn2"
    with pytest.raises(error, match="enough"):
        unet({HOOKPOINT: stop, after: lambda _x, _y: reached.append(after)}, *args, **kwargs)
    assert not reached
    assert torch.equal(unet({}, *args, **kwargs), plain)


def calls_of(pipeline: ReferencePipeline, edits) -> list[bool]:
    """Draws; for each call of the UNet whether it went on to the end."""
    inner, calls = pipeline.sampler._unet, []

    def count(*args, **kwargs):
        calls.append(False)
        prediction = inner(*args, **kwargs)
        calls[-1] = True
        return prediction

    pipeline.sampler._unet = count
    pipeline.sample(SHOTS, edits)
    return calls


def test_the_first_call_stops_at_the_hookpoint_and_only_where_a_gate_opens(load):
    assert calls_of(load(steps=3), [replacing()]) == [False, True, True, True]
    assert calls_of(load(steps=3), [replacing(), replacing()]) == [False, True, True, True], "once for all of them"
    for nothing in ([], [replacing(gate=1.0)], [replacing(strength=0.0)]):
        assert calls_of(load(steps=3), nothing) == [True] * 3


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_replacement_acts_and_one_that_is_off_or_closed_changes_no_bit(load, cfg):
    pipeline = load(steps=2, cfg=cfg, batch=2)
    plain = pipeline.draw(SHOTS)
    assert (pipeline.draw(SHOTS, [replacing()]) != plain).any((1, 2, 3)).all()
    for nothing in ({"gate": 1.0}, {"strength": 0.0}, {"region": torch.zeros(1, 8, 8)}):
        assert np.array_equal(pipeline.draw(SHOTS, [replacing(**nothing)]), plain), nothing
    assert np.array_equal(pipeline.draw(SHOTS), plain), "something of the last run is left"


def drawn_by_hand(pipeline: ReferencePipeline, model, concept: str, instead: str) -> torch.Tensor:
    """Latents with ``attn(x, T) + attn(x, A) - attn(x, C)`` at all tokens, by torch's own hooks and whole answers."""
    texts = model.encode([instead, concept])[0].split(1)

    def answer_otherwise(layer, given, answer):
        a, c = (layer.forward(given[0], text.expand(len(answer), -1, -1)) for text in texts)
        return answer + a - c

    layers = [module for name, module in model.unet.named_modules() if name.endswith(".attn2")]
    handles = [layer.register_forward_hook(answer_otherwise) for layer in layers]
    pipeline.sampler._unet = lambda _readers, *args, **kwargs: model.unet(*args, **kwargs, return_dict=False)[0]
    try:
        return pipeline.sample(SHOTS)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("size", [{}, {"width": 72, "height": 104}])
def test_an_open_gate_draws_what_the_formula_says_at_any_size(load, model, size):
    found = load(steps=2, **size).sample(SHOTS, [replacing()])
    expected = drawn_by_hand(load(steps=2, **size), model, "a cat", "a red house")
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert (expected - load(steps=2, **size).sample(SHOTS)).abs().max() > 0.1, "the texts answer alike"


def test_every_decision_is_told_with_its_place_whatever_the_batch(load):
    decisions, opened, closed = [], replacing(), replacing(gate=1.0)
    load(steps=2, batch=2).draw(SHOTS, [opened, closed], lambda *decision: decisions.append(decision))
    for own in (opened, closed):
        assert sorted(place for replacement, place, _ in decisions if replacement is own) == [0, 1, 2]
    assert all(decision.share == 1 for *_, decision in decisions)
    for replacement, _, decision in decisions:
        assert (decision.mask is None) == (replacement is closed)
        assert decision.mask is None or torch.equal(decision.mask, torch.ones(2, 2))


def test_a_place_that_it_does_not_know_is_said(load):
    with pytest.raises(SaeuronError, match="'answer' needs the layers' answer"):
        load(steps=1).draw(SHOTS[:1], [replacing(place="answer")])


def test_steering_acts_beside_a_replacement(load):
    pipeline, steering = load(steps=2), Steering(((3, 50.0),))
    each = [pipeline.draw(SHOTS[:1], edits) for edits in ((), (steering,), (replacing(),), (steering, replacing()))]
    assert all((a != b).any() for i, a in enumerate(each) for b in each[:i])


@pytest.mark.parametrize("edit", [Steering(((N, 1.0),)), replacing()])
def test_an_edit_of_another_sae_is_refused(model, edit):
    loaded = LoadedSAE(random_sae(WIDTH, N - 1, K, seed=0), SAEIdentity(**{**IDENTITY.as_dict(), "n": N - 1}))
    with pytest.raises(SaeuronError):
        ReferencePipeline(model, loaded, ReferenceSettings(steps=1)).draw(SHOTS, [edit])


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_statistics_keep_each_picture_under_its_own_name(load, cfg):
    pipeline = load(steps=2, cfg=cfg, batch=2)
    kept = pipeline.collect(SHOTS).pictures.tensors()
    expected = KeptPictures(IDENTITY)
    for shot, codes in zip(SHOTS, pipeline.codes(SHOTS), strict=True):
        expected.add([f"{shot.seed} {shot.prompt}"], codes.values[None].cpu(), codes.indices[None].cpu())
    assert kept.keys() == expected.tensors().keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in expected.tensors().items())


def test_a_run_from_nothing_but_noise_is_one_from_zeros(load):
    pipeline = load(steps=3)
    zeros = Start(torch.zeros(3, 4, 8, 8), 0)
    assert torch.equal(pipeline.sample(SHOTS, start=zeros), pipeline.sample(SHOTS))


def test_a_run_from_a_picture_begins_at_its_step_and_keeps_more_of_it_the_later(load):
    pipeline = load(steps=4)
    picture = 5 * torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    steps: list[int] = []
    pipeline.sampler.sample(
        SHOTS, lambda call, unet: (steps.append(call.step), unet({}))[1], Start(picture, 2)
    )  # fmt: skip
    assert steps == [2, 3]
    far = [(pipeline.sample(SHOTS, start=Start(picture, step)) - picture).norm() for step in range(4)]
    assert far == sorted(far, reverse=True) and far[3] < far[0] / 2


def test_codes_are_those_of_the_first_call_at_the_level_of_the_start(load):
    pipeline, picture = load(steps=3, batch=2), torch.ones(3, 4, 8, 8)
    plain, noisy = pipeline.codes(SHOTS), pipeline.codes(SHOTS, Start(picture, 2))
    assert [codes.values.shape for codes in plain] == [(2, 2, K)] * 3
    alone = pipeline.codes(SHOTS[2:], Start(picture[2:], 2))
    torch.testing.assert_close(noisy[2].values, alone[0].values, atol=1e-4, rtol=1e-4)
    assert not torch.equal(noisy[0].values, plain[0].values)
    assert calls_until_codes(pipeline) == 2, "one for each batch"


def calls_until_codes(pipeline: ReferencePipeline) -> int:
    inner, calls = pipeline.sampler._unet, []
    pipeline.sampler._unet = lambda *args, **kwargs: (calls.append(1), inner(*args, **kwargs))[1]
    pipeline.codes(SHOTS)
    return len(calls)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (Start(torch.zeros(3, 4, 8, 8), 3), "begins at step 0 to 2, not 3"),
        (Start(torch.zeros(3, 4, 8, 8), -1), "not -1"),
        (Start(torch.zeros(2, 4, 8, 8), 1), r"can't be put on latents \[2, 4, 8, 8\]"),
    ],
)
def test_a_start_that_can_t_be_is_refused(load, start, expected):
    with pytest.raises(SaeuronError, match=expected):
        load(steps=3).sample(SHOTS, start=start)


def test_noise_is_put_on_as_the_formula_says():
    latents, noise = torch.full((1, 4, 2, 2), 3.0), torch.full((1, 4, 2, 2), 2.0)
    assert torch.equal(noised(latents, noise, 4.0), torch.full_like(noise, 11.0))
    assert torch.equal(noised(latents, noise, 0.75, highest=True), torch.full_like(noise, 5.5))
    for sigma in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SaeuronError, match="sigma a finite number above 0"):
            noised(latents, noise, sigma)
