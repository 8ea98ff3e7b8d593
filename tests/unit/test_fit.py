"""Whether an SAE fits: the figures against their formulas, and the words for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeuron.errors import SaeuronError
from saeuron.evaluation.fit import Fit, FitMeter, StepFit
from saeuron.evaluation.places import BlockStudy
from saeuron.sae.figures import SAEFigures
from saeuron.sae.model import SparseAutoencoder

D, N, K = 6, 20, 3
SCHEDULE = (10.0, 1.0)
GOOD = Fit("update", (StepFit(10.0, 0.1, 3.0),), 0.1, 0.9, 0.0, 0.0, 100)


def sae() -> SparseAutoencoder:
    torch.manual_seed(0)
    made = SparseAutoencoder(D, N, K)
    made.load_state_dict({name: torch.randn_like(value) for name, value in made.state_dict().items()})
    return made.requires_grad_(False)


@given(seed=st.integers(0, 10**6), batches=st.integers(1, 4))
def test_figures_are_those_of_their_formulas(seed: int, batches: int) -> None:
    torch.manual_seed(seed)
    given_, gave = (torch.randn(batches, 2, 3, 5, D) for _ in range(2))
    meter, model = FitMeter(sae(), "update", SCHEDULE), sae()
    for block_input, block_output in zip(given_, gave, strict=True):
        meter.add(9.0, block_input, block_output)
    found = meter.fit()
    x = (gave - given_).reshape(-1, D)
    codes = model.encode(x)
    error = (x - model.decode(codes)).double().square().sum()
    variance = (x.double() - x.double().mean(0)).square().sum()
    (step,) = found.steps
    assert step.sigma == 10.0 and found.tokens == len(x)
    assert step.unexplained == pytest.approx(float(error / variance), rel=1e-5) == found.unexplained
    assert step.features == pytest.approx(float((codes.values > 0).sum()) / len(x))
    fired = torch.zeros(N).index_fill_(0, codes.indices[codes.values > 0], 1)
    assert found.dead == pytest.approx(float((fired == 0).double().mean()))
    y = gave.reshape(-1, D)
    error = (y - model.decode(model.encode(y))).double().square().sum()
    assert found.other_kind == pytest.approx(float(error / (y.double() - y.double().mean(0)).square().sum()), rel=1e-5)


def test_nothing_drawn_is_told() -> None:
    with pytest.raises(SaeuronError, match="Nothing was drawn"):
        FitMeter(sae(), "update", SCHEDULE).fit()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_model_that_overflows_is_told_and_not_called_fitting(broken: float) -> None:
    gave = torch.randn(1, 2, 2, D)
    gave[0, 1, 1, 3] = broken
    with pytest.raises(SaeuronError, match="model's own activation is not finite"):
        FitMeter(sae(), "update", SCHEDULE).add(9.0, torch.zeros_like(gave), gave)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "It fits."),
        ({"unexplained": 0.6, "other_kind": 0.9}, "It fits in part"),
        ({"unexplained": 0.95, "other_kind": 0.9}, "next to nothing"),
        ({"unexplained": 1.7, "other_kind": 1.2}, "less than the mean"),
        # As in the seed notebook: an SAE of updates was given outputs.
        ({"kind": "output", "unexplained": 1.7, "other_kind": 0.1}, "was trained on the update: choose update as kind"),
        ({"unexplained": 0.9, "other_kind": 0.3}, "was trained on the output: choose output as kind"),
    ],
)
def test_the_verdict(changes: dict[str, object], said: str) -> None:
    assert said in replace(GOOD, **changes).verdict()
    assert replace(GOOD, **changes).table().startswith(replace(GOOD, **changes).verdict())


def test_what_it_had_on_its_own_model_is_shown_beside() -> None:
    assert "trained on," not in GOOD.table()
    lines = GOOD.table(SAEFigures(0.074, 9.8, 0.01, "sdxl-turbo")).splitlines()
    assert lines[3] == (
        "on what it was trained on, sdxl-turbo: unexplained variance 7.4%, 9.8 features a token, 1.0% never fired"
    )


def study(*blocks: tuple[str, float], baseline: float = 1.0) -> BlockStudy:
    found = BlockStudy("cats")
    for hookpoint, seen in (("", baseline), *blocks):
        found.add(hookpoint, ["cats"] * round(10 * seen) + ["dogs"] * round(10 * (1 - seen)), None)
    return found


def test_the_block_without_which_the_least_is_left_decides() -> None:
    found = study(("a", 1.0), ("b", 0.1), ("c", 0.5), ("d", 0.8))
    assert found.baseline == 1.0
    assert [block.hookpoint for block in found.ranked()] == ["b", "c", "d", "a"]
    assert found.verdict() == "b decides the most about it. c decides, too."
    assert study(("a", 1.0), ("b", 1.0)).verdict().startswith("No single block decides")
    assert [row["hookpoint"] for row in found.rows()] == ["a", "b", "c", "d"]
    assert found.table().splitlines()[1:3] == [
        "left out                     concept seen   CLIP similarity",
        "nothing                            100.0%                 -",
    ]


def test_what_is_not_drawn_anyway_is_not_put_down_to_a_block() -> None:
    assert study(("a", 0.6), ("b", 0.6), baseline=0.6).verdict().startswith("No single block decides")
    assert study(("a", 0.6), ("b", 0.0), ("c", 0.5), baseline=0.6).verdict() == "b decides the most about it."
    for seen in (0.0, 0.4):
        said = study(("a", 0.0), ("b", 0.4), baseline=seen).verdict()
        assert said.startswith(f"Nothing can be said: with all blocks the classifier sees cats on {seen:.0%}")


def test_without_a_classifier_clip_ranks() -> None:
    found = BlockStudy()
    plain = np.eye(2)
    found.add("", None, plain)
    found.add("near", None, plain + 0.1)
    found.add("far", None, plain[::-1])
    near, far = found.effects
    assert near.seen is None and near.similarity == pytest.approx(0.9959, abs=1e-3) and far.similarity == 0
    assert found.ranked()[0] is far
