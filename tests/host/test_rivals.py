"""CASteer and NAG on the host: one layer against the formula in float64, and whole pictures with nothing to do."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from saeuron.evaluation.benchmark import Concept
from saeuron.shots import Shot
from tools.evaluation.plan import QUICK
from tools.evaluation.rivals.casteer import casteer, removal
from tools.evaluation.rivals.nag import ALPHA, TAU, Guidance, cross_attention_blocks, nag
from tools.evaluation.studio import Studio
from tools.evaluation.treatment import OFF, Treatment
from tools.evaluation.treatments import Bench

BLOCK = ("output", 3)
CATS = Concept("objects", "cats")
SHOTS = [Shot("a cat in gray style", 5), Shot("a dog", 6)]


class Layer:
    """A transformer block of the miniature in float64, and what its cross-attention reads and gives."""

    def __init__(self, model) -> None:
        unet = model.get_model_object("diffusion_model")
        block = unet.output_blocks[BLOCK[1]][1].transformer_blocks[0]
        self.block = copy.deepcopy(block).double()
        rng = np.random.default_rng(0)
        width, texts = self.block.attn2.to_q.in_features, self.block.attn2.to_k.in_features
        self.x, self.text, self.negative = (
            torch.from_numpy(rng.normal(size=shape)) for shape in ((2, 9, width), (2, 5, texts), (1, 7, texts))
        )

    def run(self, patches=None, replace=None, chunks=(0,)):
        """Input of the cross-attention, and its output after all patches, each [2, 9, d]."""
        read: list[torch.Tensor] = []
        handle = self.block.norm2.register_forward_hook(lambda _module, _inputs, output: read.append(output))
        patches = {name: list(several) for name, several in (patches or {}).items()}
        patches.setdefault("attn2_output_patch", []).append(lambda n, options: read.append(n) or n)
        options = {
            "patches": patches,
            "patches_replace": {"attn2": {BLOCK: replace}} if replace else {},
            "block": BLOCK,
            "block_index": 0,
            "sigmas": torch.tensor([7.0]),
            "cond_or_uncond": list(chunks),
        }
        try:
            self.block(self.x.clone(), self.text, transformer_options=options)
        finally:
            handle.remove()
        return read

    def answer(self, x, text):
        """Of all heads, before the projection, by hand."""
        attn = self.block.attn2
        q, k, v = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for part in (attn.to_q(x), attn.to_k(text), attn.to_v(text))
        )
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)


@pytest.fixture(scope="module")
def layer(miniature) -> Layer:
    with torch.inference_mode():
        return Layer(miniature[0])


def close(a, b):
    return a.numpy() == pytest.approx(b.numpy(), abs=1e-5)  # the rivals compute in float32


@pytest.mark.parametrize("phi", [2.0, 20.0])
def test_nag_on_one_layer(layer, phi):
    guidance = Guidance(layer.negative, phi)
    x, found = layer.run({"attn2_patch": [guidance.append]}, guidance.answer)
    positive = layer.answer(x, layer.text)
    negative = layer.answer(x, layer.negative.expand(2, -1, -1))
    extrapolated = positive + phi * (positive - negative)
    ratio = extrapolated.abs().sum(-1, keepdim=True) / positive.abs().sum(-1, keepdim=True)
    expected = ALPHA * ratio.clamp(max=TAU) / ratio * extrapolated + (1 - ALPHA) * positive
    assert close(found, layer.block.attn2.to_out(expected))
    assert not close(found, layer.block.attn2.to_out(positive))


def test_nag_leaves_the_negative_half(layer):
    guidance = Guidance(layer.negative, 5.0)
    _, plain = layer.run(chunks=(1, 0))
    _, found = layer.run({"attn2_patch": [guidance.append]}, guidance.answer, chunks=(1, 0))
    assert close(found[0], plain[0]) and not close(found[1], plain[1])


def test_casteer_on_one_layer(layer):
    _, plain = layer.run()
    vector = torch.nn.functional.normalize(plain.mean((0, 1)), dim=0)
    patch = removal({(BLOCK, 0): [(7.0, vector)]}, 2.0)
    _, found = layer.run({"attn2_output_patch": [patch]})
    amount = (2.0 * (plain @ vector)).clamp(min=0).unsqueeze(-1)
    assert close(found, plain - amount * vector)
    assert float((amount > 0).double().mean()) > 0 and not close(found, plain)


def test_every_cross_attention_is_found(miniature):
    unet = miniature[0].get_model_object("diffusion_model")
    assert len(cross_attention_blocks(miniature[0])) == sum(name.endswith("attn2") for name, _ in unet.named_modules())


def test_strength_0_is_off_to_the_last_bit_and_the_model_stays(tmp_path):
    """And with a strength both do something, with vectors from the concept's pairs of prompts."""
    studio = Studio(tmp_path, QUICK, clock=0)
    bench = Bench(studio, QUICK)

    def no_vectors(parts):
        raise AssertionError("asked for")

    plain = studio.draw(SHOTS, OFF)
    for off in (casteer({}, no_vectors, 0.0), nag("a cat", 0.0)):
        assert np.array_equal(studio.draw(SHOTS, Treatment((off,))), plain)
    for treatment in (bench.casteer(CATS, 2.0), Treatment((nag("a cat", 5.0),))):
        assert not np.array_equal(studio.draw(SHOTS, treatment)[0], plain[0])
    assert np.array_equal(studio.draw(SHOTS, OFF), plain)
    vectors = bench._vectors[CATS]
    assert len(vectors) == len(cross_attention_blocks(studio.part("miniature")[0]))
    for steps in vectors.values():
        assert len(steps) == 8 and all(vector.norm() == pytest.approx(1) for _, vector in steps)
