"""Attacks on the real miniature: gradients reach the text through treatments, and the whole path at a tiny size."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from saeuron.evaluation.benchmark import Concept
from saeuron.evaluation.halves import HALVES
from saeuron.evaluation.scenes import OPPOSITE, slices
from saeuron.shots import Shot
from tools.evaluation.__main__ import run_attacks
from tools.evaluation.attack_drawing import Artist, SoftJudge
from tools.evaluation.attack_plan import ATTACKS, TINY
from tools.evaluation.plan import QUICK
from tools.evaluation.studio import Studio
from tools.evaluation.treatment import OFF
from tools.evaluation.treatments import Bench, with_one_setting
from tools.pack import pack

CATS = Concept("objects", "cats")
ROWS = "off", "replace", "by hand"


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """In place of inference mode, in which no gradient is to be had."""
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    return Studio(tmp_path_factory.mktemp("seen"), QUICK, clock=0)


@pytest.mark.parametrize("name", ["off", "exact", "replace", "CASteer", "NAG", "negative prompt, cfg 2"])
def test_a_gradient_reaches_the_text_and_the_picture_is_the_sampler_s(studio, name):
    artist = Artist(studio, with_one_setting(Bench(studio, QUICK), CATS)[name])
    encoded = [tensor.requires_grad_() for tensor in artist.encode("a cat")]
    picture = artist.with_gradient(encoded, 5)
    drawn = artist.draw([Shot("a cat", 5)])
    pixels = pack("nodes.host.pictures").to_pixels(picture.detach())
    assert np.abs(pixels.astype(int) - drawn).max() <= 1
    with torch.enable_grad():
        loss = SoftJudge(studio).log_probability(picture, "cats")
    judge = studio.part("objects")
    assert loss.exp().item() == pytest.approx(judge.probabilities(pixels)[0, judge.labels.index("cats")], abs=0.02)
    for gradient in torch.autograd.grad(loss, encoded):
        assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_a_picture_of_which_one_half_is_drawn_keeps_the_other(studio):
    artist = Artist(studio, with_one_setting(Bench(studio, QUICK), CATS)["off"])
    start = artist.latents([Shot("a large cat in the middle", 8)])
    before = artist.from_pictures("a picture", [9], start, 7)
    after = artist.into_half("a picture", [9], start, 1)
    changed = np.abs(after.astype(int) - before).mean((0, 1, 3))
    assert changed[: 192 // 2 - 16].mean() < 0.2 * changed[192 // 2 + 16 :].mean()


@pytest.mark.parametrize("half", HALVES)
def test_inpainting_draws_the_half_that_is_asked_for_and_no_other(studio, half):
    artist = Artist(studio, OFF)
    start = artist.latents([Shot("a cat in gray style", 8)])
    before = artist.from_pictures("a picture", [9], start, 7)[0].astype(int)
    after = artist.into_half("a dog in gray style", [9], start, 0, half)[0]
    changed = np.abs(after - before).mean(2)
    drawn, kept = changed[slices(half, 192, 192)], changed[slices(OPPOSITE[half], 192, 192)]
    assert kept.mean() < 0.2 * drawn.mean()


def test_the_whole_path(tmp_path):
    run_attacks(tmp_path / "work", tmp_path / "first", TINY, "float32", ROWS)
    found = json.loads((tmp_path / "first" / "attacks.json").read_text(encoding="utf-8"))
    assert all(own["attempts"] for attacks in found["summary"].values() for own in attacks.values() if own)
    assert list(found["summary"]) == list(ROWS)
    assert set(found["summary"]["replace"]) == set(ATTACKS)
    assert found["summary"]["off"]["words"]["ua"] == 0 < found["summary"]["replace"]["words"]["ua"]
    page = (tmp_path / "first" / "attacks.md").read_text(encoding="utf-8")
    assert all(f"| {row} |" in page for row in found["summary"])

    run_attacks(tmp_path / "other", tmp_path / "second", TINY, "float32", ROWS)
    assert (tmp_path / "second" / "attacks.json").read_bytes() == (tmp_path / "first" / "attacks.json").read_bytes()
