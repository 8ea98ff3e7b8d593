"""Replacement Mask: where something was replaced, in the run that the latents came out of and in no other."""

from __future__ import annotations

import gc
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from support.host_graph import load_feature_set, load_sae, replace
from tools.pack import pack

SIDE = 64  # pixels: 8 x 8 latents, 4 x 4 tokens where the SAE reads
HOOKPOINT = "up_blocks.1.attentions.0"
CAT, TOWER = "a cat in twemoji style", "a tower"


def error() -> type[Exception]:
    return pack("saeuron.errors").SaeuronError


def records() -> Any:
    return pack("nodes.host.replacement_masks")


def masks_of(model: Any, latents: Tensor) -> tuple[Tensor, str]:
    mask, table = pack("nodes.replacement_mask").SaeuronReplacementMask.execute(model, {"samples": latents}).result
    return mask, table


@pytest.fixture(scope="module")
def reader() -> Any:
    with torch.inference_mode():
        return load_sae(HOOKPOINT)


@pytest.fixture
def without(miniature, reader):
    """A MODEL, as it is or another one, on which a concept becomes a dog."""

    def put(concept: str, words: str, model: Any = miniature[0], **options: Any) -> Any:
        features = load_feature_set(f"miniature/{HOOKPOINT}/{concept}.json")
        return replace(model, miniature[1], reader, features, words, "a dog", **options)

    return put


def encode(miniature: tuple, *prompts: str) -> list[Any]:
    """CONDITIONING with a prompt for each picture of the batch."""
    clip = miniature[1]
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0] for prompt in prompts]
    pooled = torch.cat([options["pooled_output"] for _, options in encoded])
    return [[torch.cat([text for text, _ in encoded]), {**encoded[0][1], "pooled_output": pooled}]]


def draw(miniature: tuple, model: Any, positive: Any, batch: int = 1, seed: int = 5) -> Tensor:
    from nodes import KSampler

    latent = {"samples": torch.zeros(batch, 4, SIDE // 8, SIDE // 8)}
    negative = encode(miniature, "")
    run = KSampler().sample(model, seed, 2, 1.0, "euler", "sgm_uniform", positive, negative, latent)
    return run[0]["samples"]


def test_each_picture_has_what_was_replaced_in_it_and_others_are_black(miniature, without):
    model = without("cats", "a cat")
    latents = draw(miniature, model, encode(miniature, CAT, TOWER), batch=2)
    mask, table = masks_of(model, latents)
    assert mask.shape == (2, SIDE, SIDE) and mask.dtype == torch.float32
    (patch,) = pack("nodes.host.model").attached(model).replacements
    (tokens,) = [found for found in records().masks_of_last_run(patch).values() if found is not None]
    assert torch.allclose(mask[0], tokens.repeat_interleave(16, 0).repeat_interleave(16, 1), atol=1e-6)
    assert mask[0].any() and not mask[1].any()
    assert table.splitlines()[0] == "replaced in 1 of 2 pictures"
    assert table.splitlines()[2] == "  picture 2: left as it is"


def test_an_area_has_its_mask_where_it_lies(miniature, without):
    from nodes import ConditioningSetArea

    model = without("cats", "a cat")
    right = ConditioningSetArea().append(encode(miniature, CAT), SIDE // 2, SIDE, SIDE // 2, 0, 1.0)[0]
    mask, _ = masks_of(model, draw(miniature, model, [*encode(miniature, TOWER), *right]))
    assert mask[0, :, SIDE // 2 :].any() and not mask[0, :, : SIDE // 2].any()


def test_all_replacements_of_a_model_together_or_those_before_one(miniature, without):
    cats = without("cats", "a cat")
    both = without("towers", "a tower", cats)
    latents = draw(miniature, both, encode(miniature, CAT, TOWER), batch=2)
    assert [bool(mask.any()) for mask in masks_of(both, latents)[0]] == [True, True]
    assert [bool(mask.any()) for mask in masks_of(cats, latents)[0]] == [True, False]


def test_two_samplers_of_one_model_are_told_apart(miniature, without):
    """Also when one of them was not run again: the host has kept what came out of it."""
    model = without("cats", "a cat")
    shots = [(CAT, 5), (TOWER, 5), (CAT, 6)]
    latents = [draw(miniature, model, encode(miniature, text), seed=seed) for text, seed in shots]
    found = [masks_of(model, each)[0] for each in latents]
    assert [bool(mask.any()) for mask in found] == [True, False, True]
    alone = without("cats", "a cat")
    assert torch.equal(masks_of(alone, draw(miniature, alone, encode(miniature, CAT)))[0], found[0])


def test_clones_share_the_record_and_precision_and_place_do_not_matter(miniature, without):
    model = without("cats", "a cat")
    latents = draw(miniature, model.clone(), encode(miniature, CAT))
    expected = masks_of(model, latents)[0]
    for copy in (latents.clone(), latents.half(), latents.to(memory_format=torch.channels_last)):
        assert torch.equal(masks_of(model, copy)[0], expected)


def test_strength_zero_replaces_nothing(miniature, without):
    model = without("cats", "a cat", strength=0.0)
    mask, table = masks_of(model, draw(miniature, model, encode(miniature, CAT)))
    assert not mask.any() and "0 of 1" in table


def test_what_can_not_be_answered_is_said(miniature, without):
    model = without("cats", "a cat")
    plain = draw(miniature, miniature[0], encode(miniature, CAT))
    with pytest.raises(error(), match="Neither Replace Concept nor Forget is on this MODEL"):
        masks_of(miniature[0], plain)
    with pytest.raises(error(), match="Nothing was drawn with this MODEL yet"):
        masks_of(model, plain)
    latents = draw(miniature, model, encode(miniature, CAT))
    for other in (plain, latents * 1.01, latents[:, :, 1:], latents.repeat(2, 1, 1, 1)):
        with pytest.raises(error(), match="not what a sampler gave with this MODEL"):
            masks_of(model, other)
    later = without("towers", "a tower", model)
    with pytest.raises(error(), match="not what a sampler gave"):
        draw(miniature, later, encode(miniature, TOWER))
        masks_of(later, latents)


class Part(NamedTuple):
    conditioning: int
    picture: int
    area: Any


class Patch:
    pass


def test_a_map_that_does_not_divide_its_area_covers_all_of_it():
    area = pack("saeuron.edits.call").Area(1, 2, 5, 7, (9, 11))
    latents, patch = torch.randn(1, 4, 9, 11), Patch()
    weights = torch.tensor([[0.0, 0.5], [1.0, 1.0]])
    records().keep_masks(patch, latents, {Part(0, 0, area): weights})
    (mask,) = records().united_masks([patch], latents)
    inside = mask[8:48, 16:72]
    assert mask.shape == (72, 88) and mask.sum() == inside.sum()
    assert torch.equal(inside[20:], torch.ones(20, 56))
    assert torch.equal(inside[:20], torch.tensor([0.0] * 28 + [0.5] * 28).expand(20, 56))


def test_parts_of_one_picture_are_united():
    latents, patches = torch.randn(2, 4, 8, 8), (Patch(), Patch())
    one, other = torch.tensor([[1.0, 0.0], [0.25, 0.0]]), torch.tensor([[0.0, 0.0], [0.5, 0.0]])
    records().keep_masks(patches[0], latents, {Part(0, 1, None): one, Part(1, 1, None): None})
    records().keep_masks(patches[1], latents, {Part(0, 1, None): other, Part(0, 0, None): None})
    black, united = records().united_masks(patches, latents)
    assert not black.any()
    assert (united[:32, :32] == 1).all() and (united[32:, :32] == 0.5).all() and not united[:, 32:].any()


def test_what_is_kept_is_bounded_and_goes_with_the_model(monkeypatch):
    monkeypatch.setattr(records(), "RUNS_KEPT", 3)
    patch, latents = Patch(), torch.randn(5, 1, 4, 8, 8)
    for each in latents:
        records().keep_masks(patch, each, {Part(0, 0, None): torch.ones(2, 2)})
    for each in latents[2:]:
        assert records().united_masks([patch], each).all()
    with pytest.raises(error(), match="not what a sampler gave"):
        records().united_masks([patch], latents[0])
    gc.collect()  # what other tests left
    before = len(records()._RUNS)
    del patch
    gc.collect()
    assert len(records()._RUNS) == before - 1
