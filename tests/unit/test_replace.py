"""Replacing a concept: detection, masks, the difference of two answers, and exactness where nothing is to be done."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from saeuron.edits.cross_attention import attention_difference, keys_values
from saeuron.edits.masks import resize
from saeuron.edits.replace import (
    STRONGEST,
    Detection,
    Replacement,
    answer_map,
    answer_size,
    detect,
    place_tokens,
    replace_tokens,
    token_mask,
    touched_tokens,
)
from saeuron.errors import SaeuronError
from saeuron.features.detector import Detector, PictureGate
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from support.codes import SAE, codes_of

D, C, HEADS = 12, 10, 3
CATS = FeatureSet(
    "cats",
    SAE,
    {},
    {},
    (FeatureStep(None, (Feature(0, mean_all=1.0), Feature(1, mean_all=0.5))),),
    detector=Detector(at_least=2, gate=0.2),
)


class HostAttention(nn.Module):
    """Laid out and computing as ComfyUI's ``CrossAttention``."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.dim_head = HEADS, D // HEADS
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, D, bias=False) for width in (D, C, C))
        self.to_out = nn.Sequential(nn.Linear(D, D), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        answers = []
        for q_, k_, v_ in zip(*(part.chunk(self.heads, -1) for part in (q, k, v)), strict=True):
            answers.append((q_ @ k_.transpose(1, 2) / self.dim_head**0.5).softmax(-1) @ v_)
        out: Tensor = self.to_out(torch.cat(answers, -1))
        return out


def layer(kind: str) -> Any:
    torch.manual_seed(3)
    if kind == "host":
        return HostAttention().eval().requires_grad_(False)
    made = Attention(D, cross_attention_dim=C, heads=HEADS, dim_head=D // HEADS)
    return made.eval().requires_grad_(False)


def texts(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Of different lengths, as texts of more than 77 tokens have."""
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(1, s, C, generator=generator).to(dtype) for s in (5, 8))  # type: ignore[return-value]


def answer(attn: Any, x: Tensor, context: Tensor) -> Tensor:
    """The whole layer's, to one text for all pictures."""
    out: Tensor = attn(x, context.expand(len(x), -1, -1))
    return out


def tokens(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2)).to(dtype)


@pytest.mark.parametrize("kind", ["host", "diffusers"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03), (torch.float16, 4e-3)])
def test_difference_is_that_of_the_two_whole_answers(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    attn, (a, c), x = layer(kind).to(dtype), texts(dtype), tokens(2, 7, D, dtype=dtype)
    expected = (answer(attn, x, a) - answer(attn, x, c)).float()
    found = attention_difference(attn, x.flatten(0, 1), keys_values(attn, a), keys_values(attn, c))
    assert found.dtype == dtype and expected.abs().max() > 0.1
    torch.testing.assert_close(found.view_as(x).float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", ["host", "diffusers"])
def test_same_text_makes_no_difference_at_all(kind: str) -> None:
    attn, (a, _) = layer(kind), texts()
    same = keys_values(attn, a)
    assert not attention_difference(attn, tokens(9, D), same, same).any()


def test_layer_is_only_called_and_never_looked_into() -> None:
    """The host's layers have weights that are cast, moved and patched when they are called, and only then."""
    attn, (a, c), x = layer("host"), texts(), tokens(4, D)
    expected = attention_difference(attn, x, keys_values(attn, a), keys_values(attn, c))

    class Called(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.call = inner.forward

        def forward(self, x: Tensor) -> Tensor:
            return self.call(x)

    for name in ("to_q", "to_k", "to_v"):
        setattr(attn, name, Called(getattr(attn, name)))
    attn.to_out = nn.Sequential(Called(attn.to_out[0]), attn.to_out[1])
    assert torch.equal(attention_difference(attn, x, keys_values(attn, a), keys_values(attn, c)), expected)


@pytest.mark.parametrize("kind", ["host", "diffusers"])
def test_replaced_tokens_are_the_methods_and_others_keep_their_bits(kind: str) -> None:
    attn, (a, c), (text, _), x = layer(kind), texts(), texts(), tokens(3, 6, D)
    output = answer(attn, x, text * 2)
    weight = torch.tensor([[1, 0, 0.5, 0, 0, 0.25], [0] * 6, [0, 0, 0, 0, 0, 1]])
    touched = touched_tokens(0.8 * weight)
    assert touched is not None and len(touched.places) == 4
    found = replace_tokens(attn, x, output, touched, keys_values(attn, a), keys_values(attn, c))
    expected = output + 0.8 * weight.unsqueeze(-1) * (answer(attn, x, a) - answer(attn, x, c))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert torch.equal(found[weight == 0], output[weight == 0])
    assert (found[weight > 0] != output[weight > 0]).any(-1).all()


def test_no_weight_touches_nothing() -> None:
    assert touched_tokens(torch.zeros(2, 3, 3)) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_outputs_type_is_kept_and_so_are_bits_that_mean_nothing(dtype: torch.dtype) -> None:
    attn, (a, c), x = layer("host"), texts(), tokens(1, 3, D)
    output = tokens(1, 3, D).to(dtype)
    output[0, 0], output[0, 1] = float("nan"), -0.0
    touched = touched_tokens(torch.tensor([[0.0, 0.0, 1.0]]))
    assert touched is not None
    found = replace_tokens(attn, x, output, touched, keys_values(attn, a), keys_values(attn, c))
    assert found.dtype == dtype and not torch.equal(found[0, 2], output[0, 2])
    assert torch.equal(found[:, :2].view(torch.int16), output[:, :2].view(torch.int16))


def marked(*counts: int, size: int = 16) -> Any:
    """Codes [B, 4, 4, k] of pictures of which so many tokens, from the first, have both features of CATS."""
    codes = codes_of(*([{0: 2.0, 1: 2.0}] * count + [{5: 1.0}] * (size - count) for count in counts))
    return type(codes)(*(part.view(len(counts), 4, 4, -1) for part in codes))


def test_gates_open_by_picture_and_by_sensitivity() -> None:
    codes = marked(0, 3, 4, 16)
    found = detect(Replacement(CATS), codes, 14.6)
    assert found.share.tolist() == [0, 3 / 16, 4 / 16, 1]
    assert found.marks.sum((1, 2)).tolist() == [0, 3, 4, 16]
    assert found.is_open.tolist() == [False, False, True, True]
    assert detect(Replacement(CATS, sensitivity=2.0), codes, 14.6).is_open.tolist() == [False, True, True, True]
    assert detect(Replacement(CATS, sensitivity=0.5), codes, 14.6).is_open.tolist() == [False, False, False, True]


def test_closed_pictures_have_no_weight_anywhere() -> None:
    replacement = Replacement(CATS, growth=2, feather=2)
    mask = token_mask(replacement, detect(replacement, marked(3, 16), 14.6))
    assert not mask[0].any()
    assert torch.equal(mask[1], torch.ones(4, 4))


def test_region_limits_what_grew_and_faded() -> None:
    limits = torch.zeros(1, 4, 4)
    limits[:, :, :2] = 1
    replacement = Replacement(CATS, growth=4, feather=1)
    mask = token_mask(replacement, detect(replacement, marked(4), 14.6), limits)
    assert mask[0].tolist() == [[1, 1, 0, 0]] * 4


def one(*at: tuple[int, int]) -> Tensor:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    for row, column in at:
        mask[0, row, column] = True
    return mask


def test_places() -> None:
    marks, answer = one((0, 0), (1, 1)), one((1, 1), (2, 2)).float()
    assert place_tokens("sae", marks) is marks
    for cut in ("mean", "otsu"):
        assert torch.equal(place_tokens("answer", marks, answer, cut), answer.bool())
        assert torch.equal(place_tokens("both", marks, answer, cut), one((1, 1)))
        # where an answer says nothing, or disagrees about everything, an open gate is not left without a place
        assert torch.equal(place_tokens("answer", marks, torch.ones(1, 4, 4), cut), marks)
        assert torch.equal(place_tokens("both", marks, one((3, 3)).float(), cut), marks)
    with pytest.raises(SaeuronError, match="needs the layers' answer"):
        place_tokens("answer", marks)
    with pytest.raises(SaeuronError, match="nowhere"):
        place_tokens("nowhere", marks, answer)


def test_the_answer_places_the_mask() -> None:
    replacement = Replacement(CATS, place="answer")
    detection = Detection(one((0, 0)), torch.tensor([1 / 16]), torch.tensor([True]))
    answer = torch.zeros(1, 4, 4)
    answer[0, :, 2:] = 1
    assert torch.equal(token_mask(replacement, detection, answer=answer), answer)


def test_answers_of_layers_count_alike_whatever_their_size_and_scale() -> None:
    difference = torch.zeros(1, 16, D)
    difference[0, 5] = 3.0
    size = answer_size(difference)
    assert size[0, 5] == pytest.approx(3 * D**0.5) and size.shape == (1, 16)
    first, second = size.view(1, 4, 4), torch.eye(8).unsqueeze(0) * 1000
    found = answer_map([first, second, torch.zeros(1, 2, 2)], 4, 4)
    torch.testing.assert_close(found, answer_map([first * 7, second, torch.zeros(1, 2, 2)], 4, 4))
    torch.testing.assert_close(found.mean(), answer_map([first], 4, 4).mean() * 2 / 3, atol=0.2, rtol=0)
    large = answer_map([torch.eye(8).unsqueeze(0)], 4, 4)
    assert torch.equal(large.argmax(), answer_map([resize(torch.eye(8).unsqueeze(0), 4, 4)], 4, 4).argmax())


@pytest.mark.parametrize(("sigma", "strength"), [(14.6, 0.75), (6.0, 0.75), (4.0, 1.5), (1.6, 1.5)])
def test_a_run_that_begins_from_a_picture_is_edited_twice_as_strongly(sigma: float, strength: float) -> None:
    detector = Detector(sigma=14.6, pictures=PictureGate(1.6, 0.02, (1, 1), (0, 1)))
    taught = dataclasses.replace(CATS, detector=detector)
    assert Replacement(taught, strength=0.75).strength_at(sigma) == strength
    assert Replacement(CATS, strength=0.75).strength_at(sigma) == 0.75, "a set that was not taught pictures"
    assert Replacement(taught, strength=1.5).strength_at(1.6) == STRONGEST


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": -0.1}, {"strength": 2.1}, {"strength": float("nan")}, {"sensitivity": 0.0},
        {"sensitivity": float("inf")}, {"growth": -1}, {"growth": 1.5}, {"growth": 65}, {"feather": -1},
        {"place": "somewhere"}, {"cut": "median"}, {"region": torch.ones(4, 4)},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(SaeuronError):
        Replacement(CATS, **wrong)
