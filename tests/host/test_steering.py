"""Steering on the host's own model classes: its formula, alone and chained with Unlearn; what nodes show of a run."""

from __future__ import annotations

import pytest
import torch

from support.host_graph import Shot, Spy, sample, steer, unlearn
from tools.pack import pack

SHORT = Shot()


def tokens(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)  # BCHW -> BHWC


@pytest.mark.parametrize("shot", [SHORT, Shot(cfg=2.0, batch=2, width=96, height=160)], ids=str)
def test_every_call_is_steered_by_the_formula(miniature, sae, shot):
    model = miniature[0]
    with Spy(model) as spy:
        sample(miniature, steer(model, sae, "3: 4\n7: -2.5"), shot)
    added = 4 * sae.module.decoder_rows(torch.tensor(3)) - 2.5 * sae.module.decoder_rows(torch.tensor(7))
    assert spy.outputs
    for output, edited in zip(spy.outputs, spy.edited, strict=True):
        assert torch.allclose(tokens(edited), tokens(output) + added, atol=1e-4)


def test_strengths_of_0_and_a_black_mask_give_the_same_picture(miniature, sae):
    model = miniature[0]
    plain = sample(miniature, model, SHORT)
    for patched in (steer(model, sae, "3: 0\n7: -0"), steer(model, sae, "3: 9", mask=torch.zeros(1, 64, 64))):
        assert torch.equal(sample(miniature, patched, SHORT), plain)
    assert not torch.equal(sample(miniature, steer(model, sae, "3: 9"), SHORT), plain)
    assert torch.equal(sample(miniature, model, SHORT), plain)


def test_a_mask_says_where_and_its_batch_for_which_picture(miniature, sae):
    model = miniature[0]
    masks = torch.zeros(2, 64, 64)
    masks[1, :, 32:] = 1  # the right half of the second picture
    with Spy(model) as spy:
        sample(miniature, steer(model, sae, "3: 9", mask=masks), Shot(steps=1, batch=2, cfg=2.0))
    assert spy.outputs
    for output, edited in zip(spy.outputs, spy.edited, strict=True):
        changed = (output != edited).any(1)  # [4, 4, 4]: the negative half's two pictures, then the positive's
        assert not changed[[0, 2]].any() and not changed[[1, 3], :, :2].any()
        assert changed[[1, 3], :, 2:].all()


def test_steering_and_unlearning_share_a_block_in_either_order(miniature, sae, cats):
    from comfy.patcher_extension import WrappersMP

    library = pack("saeuron.edits.intervention")
    model = miniature[0]
    first, second = (
        steer(unlearn(model, sae, cats), sae, "3: 9"),
        unlearn(steer(model, sae, "3: 9"), sae, cats),
    )
    assert len(first.get_wrappers(WrappersMP.APPLY_MODEL, "saeuron")) == 1
    encodes = []
    handle = sae.module.encoder.register_forward_hook(lambda *_: encodes.append(1))
    with Spy(model) as spy:
        result = sample(miniature, first, SHORT)
    handle.remove()
    assert len(encodes) == len(spy.outputs), "one encode a call, however many edits"
    assert torch.equal(result, sample(miniature, second, SHORT))
    intervention, row = library.Intervention(cats, -20.0), sae.module.decoder_rows(torch.tensor(3))
    for block_input, output, edited in zip(spy.inputs, spy.outputs, spy.edited, strict=True):
        removed = library.intervene(sae.module, "update", [intervention], 1.0, tokens(block_input), tokens(output))
        assert torch.allclose(tokens(edited), removed + 9 * row, atol=1e-4)


def test_halves_and_percent(miniature, sae):
    model = miniature[0]
    with Spy(model) as spy:
        sample(miniature, steer(model, sae, "3: 9", halves="positive", end_percent=0.3), Shot(cfg=2.0))
    changed = [(a != b).flatten(1).any(1).tolist() for a, b in zip(spy.outputs, spy.edited, strict=True)]
    assert changed[0] == [False, True] and changed[-1] == [False, False]


@pytest.mark.parametrize(
    ("strengths", "options", "message"),
    [
        ("", {}, "List 1 to"),
        ("3 4", {}, "Line 1"),
        ("99999999: 1", {}, "no feature 99999999"),
        ("3: 1", {"start_percent": 0.6, "end_percent": 0.4}, "swap them"),
    ],
)
def test_what_a_person_gets_wrong(miniature, sae, strengths, options, message):
    with pytest.raises(ValueError, match=message):
        steer(miniature[0], sae, strengths, **options)


def test_nodes_show_how_many_tokens_their_run_edited_and_nothing_stays_in_the_model(miniature, sae, cats, monkeypatch):
    shown = []
    runs = pack("nodes.host.runs")
    # Texts of runs; the nodes' own come when they are executed.
    monkeypatch.setattr(runs, "send_text", lambda text, id_: text.startswith("edited") and shown.append((id_, text)))
    for module, node, id_ in (("unlearn", "SaeuronUnlearn", "7"), ("steer", "SaeuronSteerFeatures", "8")):
        hidden = type("Hidden", (), {"unique_id": id_})
        monkeypatch.setattr(getattr(pack(f"nodes.{module}"), node), "hidden", hidden, raising=False)
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    model = steer(unlearn(miniature[0], sae, cats), sae, "3: 9", end_percent=0.3, mask=mask)
    with Spy(miniature[0]) as spy:
        sample(miniature, model, SHORT)
    first, second = dict(shown)["8"], dict(shown)["7"]
    assert first.splitlines()[:3] == ["edited in this run: 8 of 32 tokens", "  step 1: 8 of 16", "  step 2: 0 of 16"]
    assert "feature 3: +9" in first and "multiplier -20" in second
    sample(miniature, unlearn(miniature[0], sae, cats), SHORT)
    sample(miniature, unlearn(miniature[0], sae, cats), SHORT)
    assert shown[-1] == shown[-2], "counts of an earlier run were kept"
    with Spy(miniature[0]) as spy:
        sample(miniature, unlearn(miniature[0], sae, cats), SHORT)
    edited = sum(int((a != b).any(1).sum()) for a, b in zip(spy.outputs, spy.edited, strict=True))
    assert shown[-1][1].startswith(f"edited in this run: {edited} of 32 tokens")
