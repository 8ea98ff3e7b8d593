"""The reference path against the host: replacements, steering, and runs that begin from a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support.both_paths import (
    SIZES,
    Kept,
    assert_near,
    assert_same_pictures,
    host_pipeline,
    host_settings,
    reference_pipeline,
)
from support.host_graph import Shot, Spy, load_feature_set, replace, sample
from tools.pack import pack

STEPS = 3
LATENT = (SIZES["height"] // 8, SIZES["width"] // 8)
PROMPTS = (("a cat in twemoji style", 5), ("a tower in gray style", 6), ("a cat in crayon style", 7))
CATS = ("a cat", "a dog")
LEFT = torch.stack([torch.eye(8).flip(0), torch.zeros(8, 8).index_fill(1, torch.arange(4), 1.0)])


def shots_of(*prompts: tuple[str, int]) -> list:
    return [pack("saeuron.shots").Shot(*own) for own in prompts or PROMPTS]


def reference_replacement(feature_set: Any, texts: tuple[str, str], **settings: Any) -> Any:
    replacement = pack("saeuron.edits.replace").Replacement(feature_set, **settings)
    return pack("saeuron.reference.replacing").ReferenceReplacement(replacement, *texts)


class HostRun:
    """A batch on the host with replacements on the MODEL: its latents, the block's output, and what was decided."""

    def __init__(self, miniature: tuple, model: Any, shots: list, cfg: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decided: list[list[tuple[int, float]]] = []
        replacing = pack("nodes.host.replacing")
        monkeypatch.setattr(replacing, "replaced_table", self._keep)
        sampler = pack("nodes.host.drawing").BatchSampler(model, miniature[1], host_settings(cfg, STEPS), len(shots))
        with Spy(miniature[0]) as spy:
            ((_, self.latents),) = sampler.run(model, shots)
        self.outputs = spy.outputs
        self.masks = [
            {part.picture: mask for part, mask in pack("nodes.host.replacement_masks").masks_of_last_run(patch).items()}
            for patch in pack("nodes.host.model").attached(model).replacements
        ]

    def _keep(self, rows: list) -> str:
        self.decided.append(sorted((picture, share) for picture, _, share, _ in rows))
        return ""


class ReferenceRun:
    """The same on the reference path."""

    def __init__(self, shots: list, cfg: float, replacements: list) -> None:
        pipeline, kept = reference_pipeline(cfg=cfg, steps=STEPS), Kept()
        self._replacements = replacements
        self.decided: list[list[tuple[int, float]]] = [[] for _ in replacements]
        self.masks: list[dict[int, torch.Tensor | None]] = [{} for _ in replacements]
        run = pack("saeuron.reference.replacing").ReplacingRun(
            pipeline.sampler._model, pipeline.loaded, pipeline.hookpoint, LATENT, replacements, self._watch
        )
        self.latents = pipeline.sampler.sample(shots, lambda call, unet: run.predict(call, unet, kept.reader(call)))
        self.outputs = [output for _, output, _ in kept]

    def _watch(self, replacement: Any, picture: int, decision: Any) -> None:
        number = self._replacements.index(replacement)
        self.decided[number].append((picture, decision.share))
        self.masks[number][picture] = decision.mask


def assert_same_run(host: HostRun, reference: ReferenceRun) -> None:
    assert host.decided == reference.decided
    for own, other in zip(host.masks, reference.masks, strict=True):
        assert own.keys() == other.keys()
        for picture, mask in own.items():
            assert (mask is None) == (other[picture] is None)
            assert mask is None or torch.equal(mask, other[picture])
    assert len(host.outputs) == STEPS + 1 and len(reference.outputs) == STEPS, "only the first call is run twice"
    assert_near(reference.outputs[0], host.outputs[1])
    assert_near(reference.latents, host.latents * 0.13025, 1e-3)


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_a_batch_that_gates_differently_is_the_hosts(miniature, sae, cats, cfg, monkeypatch):
    shots = shots_of()
    host = HostRun(miniature, replace(*miniature[:2], sae, cats, *CATS), shots, cfg, monkeypatch)
    reference = ReferenceRun(shots, cfg, [reference_replacement(cats, CATS)])
    assert_same_run(host, reference)
    assert [mask is None for _, mask in sorted(reference.masks[0].items())] == [False, True, False]


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_pictures_are_the_hosts_and_those_with_a_closed_gate_are_the_plain_ones(miniature, sae, cats, cfg):
    shots, pipeline = shots_of(), reference_pipeline(cfg=cfg, steps=STEPS)
    model = replace(*miniature[:2], sae, cats, *CATS)
    plain, drawn = pipeline.draw(shots), pipeline.draw(shots, [reference_replacement(cats, CATS)])
    assert_same_pictures(host_pipeline((model, *miniature[1:]), sae, cfg, len(shots), steps=STEPS).draw(shots), drawn)
    assert [np.array_equal(*own) for own in zip(plain, drawn, strict=True)] == [False, True, False]


def test_all_settings_and_a_second_replacement_act_as_on_the_host(miniature, sae, cats, monkeypatch):
    towers, shots = load_feature_set("miniature/towers.json"), shots_of()
    model = replace(
        *miniature[:2], sae, cats, *CATS, strength=70.0, sensitivity=2.0, growth=1, feather=1, mask=LEFT
    )  # fmt: skip
    model = replace(model, miniature[1], sae, towers, "a tower", "a tree")
    region = pack("nodes.host.sockets").region_of(LEFT)
    replacements = [
        reference_replacement(cats, CATS, strength=0.7, sensitivity=2.0, growth=1, feather=1, region=region),
        reference_replacement(towers, ("a tower", "a tree")),
    ]
    reference = ReferenceRun(shots, 1.0, replacements)
    assert_same_run(HostRun(miniature, model, shots, 1.0, monkeypatch), reference)
    assert reference.masks[0][0] is not None and reference.masks[1][1] is not None, "one of them does nothing"


def test_steering_is_the_hosts(miniature, sae):
    shots = shots_of(*PROMPTS[:2])
    steering = pack("saeuron.edits.steering").Steering(((227, 40.0), (18, -20.0)), region=LEFT)
    pipeline = reference_pipeline(steps=STEPS)
    drawn = pipeline.draw(shots, [steering])
    assert_same_pictures(host_pipeline(miniature, sae, 1.0, len(shots), steps=STEPS).draw(shots, [steering]), drawn)
    assert not np.array_equal(drawn, pipeline.draw(shots)), "nothing was added"


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_that_begins_from_a_picture_is_the_hosts(miniature, sae, cats, replaced):
    pipeline, step, text = reference_pipeline(), 1, PROMPTS[0][0]
    picture, shots = pipeline.sample(shots_of((text, 5))), shots_of((text, 8))
    start = pack("saeuron.reference.sampling").Start(picture, step)
    drawn = pipeline.sample(shots, [reference_replacement(cats, CATS)] if replaced else [], start)
    model = replace(*miniature[:2], sae, cats, *CATS) if replaced else miniature[0]
    sigmas = torch.tensor([*pipeline.sigmas[step:], 0.0])
    expected = sample(miniature, model, Shot(seed=8), text, sigmas, picture / 0.13025)
    assert_near(drawn, expected * 0.13025, 1e-3)
    assert torch.equal(drawn, pipeline.sample(shots, start=start)) != replaced


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_a_look_first_is_the_hosts(miniature, sae, cats, cfg):
    shots, pipeline, told = shots_of(), reference_pipeline(cfg=cfg, steps=STEPS), []
    region = pack("nodes.host.sockets").region_of(LEFT)
    model = replace(*miniature[:2], sae, cats, *CATS, look_first=True, mask=LEFT)
    own = reference_replacement(cats, CATS, look_first=True, region=region)
    plain, drawn = pipeline.sample(shots), pipeline.sample(shots, [own], watch=lambda *found: told.append(found))
    sampler = pack("nodes.host.drawing").BatchSampler(model, miniature[1], host_settings(cfg, STEPS), len(shots))
    ((_, latents),) = sampler.run(model, shots)
    assert_near(drawn, latents * 0.13025, 1e-3)
    (patch,) = pack("nodes.host.model").attached(model).replacements
    masks = {part.picture: mask for part, mask in pack("nodes.host.replacement_masks").masks_of_last_run(patch).items()}
    assert [picture for _, picture, _ in told] == [0, 1, 2], "told once of each"
    for _, picture, decision in told:
        mask = masks[picture]
        assert (mask is None) == (decision.mask is None) and (mask is None or torch.equal(mask, decision.mask))
    assert [torch.equal(*both) for both in zip(plain, drawn, strict=True)] == [False, True, False]
    assert (plain[2] == drawn[2]).float().mean() > 0.25, "outside of the mask everything stays"
