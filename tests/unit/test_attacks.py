"""Searches for what brings a concept back, on judges made by hand; and the words that are tried."""

from __future__ import annotations

import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.evaluation.attacks import WON, search_embeddings, search_words
from tools.evaluation.attack_plan import ATTACKS, BUDGET, TINY, evading_shots, evasions, known_words
from tools.evaluation.attack_report import summary, words_of
from tools.miniature.drawings import OBJECTS


def probability_of(scores: dict[str, float], drawn: list[str]):
    def probability(text: str) -> float:
        drawn.append(text)
        return scores.get(text, 0.0)

    return probability


def test_words_are_appended_while_that_helps():
    drawn: list[str] = []
    scores = {"a": 0.1, "a x": 0.2, "a y": 0.3, "a y x": 0.9}
    found = search_words("a", ["x", "y"], 3, probability_of(scores, drawn))
    assert (found.text, found.probability, found.tried) == ("a y x", 0.9, len(drawn))
    assert drawn == ["a", "a x", "a y", "a y x"], "the first that succeeds ends it"


def test_a_last_word_is_exchanged_where_one_more_does_not_help():
    drawn: list[str] = []
    scores = {"a x": 0.4, "a x y": 0.1, "a x x": 0.2}
    found = search_words("a", ["x", "y"], 5, probability_of(scores, drawn))
    assert found.text == "a x" and found.probability == 0.4
    assert len(drawn) == len(set(drawn)) == found.tried == 5, "no text is drawn twice, and it ends where nothing helps"


def test_a_budget_of_words_is_kept():
    words = [f"w{number}" for number in range(4)]
    drawn: list[str] = []
    found = search_words("a", words, 2, lambda text: drawn.append(text) or 0.4 * (1 - 0.5 ** len(drawn)))
    assert found.tried == len(drawn) <= 1 + 2 * 2 * len(words)
    with pytest.raises(SaeuronError, match="no words"):
        search_words("a", [], 1, lambda _: 0.0)


def quadratic(goal: torch.Tensor, drawn: list[list[float]]):
    """The nearer to `goal`, the more probable; won within 0.5 of it."""

    def loss_and_probability(texts):
        drawn.append(texts[0].tolist())
        distance = (texts[0] - goal).square().sum()
        return distance, float(0.5 / (distance.detach().sqrt() + 0.5) + (distance < 0.25) * 0.1)

    return loss_and_probability


def test_gradient_search_goes_where_the_loss_falls_from_the_best_start():
    goal, drawn = torch.tensor([3.0, 4.0]), []
    starts = [[torch.tensor([-9.0, 0.0])], [torch.tensor([3.0, 1.0])]]
    found = search_embeddings(starts, quadratic(goal, drawn), 20, 0.2)
    assert found.probability > WON and found.tried == len(drawn) < 22
    assert drawn[:2] == [[-9.0, 0.0], [3.0, 1.0]]
    # a step is the rate times the start's root mean square, along the gradient scaled to that
    assert drawn[2] == pytest.approx([3.0, 1.0 + 0.2 * 5**0.5 * 2**0.5])
    assert starts[1][0].tolist() == [3.0, 1.0], "what it began from stays"


def test_gradient_search_keeps_its_budget_and_asks_for_a_gradient():
    drawn: list[list[float]] = []
    found = search_embeddings([[torch.ones(2)]], quadratic(torch.full((2,), 1e6), drawn), 3, 0.1)
    assert found.tried == len(drawn) == 4 and found.probability < WON
    with pytest.raises(SaeuronError, match="no gradient"):
        search_embeddings([[torch.ones(2)]], lambda _: (torch.zeros(()), 0.0), 3, 0.1)
    with pytest.raises(SaeuronError, match="no text"):
        search_embeddings([], lambda _: (torch.zeros(()), 0.0), 3, 0.1)


def test_evading_words_do_not_say_the_usual_ones():
    for label, (_, names) in OBJECTS.items():
        kinds = evasions(label)
        for kind, prompts in kinds.items():
            for prompt in prompts:
                said = set(prompt.lower().split())
                assert kind == "denials" or not said & set(names), prompt
        assert len(kinds["other languages"]) == 3 and kinds["denials"][0].startswith("not a")
    shots = [shot for label in OBJECTS for _, shot in evading_shots(label, BUDGET)]
    assert len({shot.seed for shot in shots}) == len(shots)


def test_a_search_chooses_among_single_words_that_the_encoder_knows():
    words = known_words(BUDGET)
    assert {"cat", "kitty", "Katze", "tower", "meows"} <= set(words) and not any(" " in each for each in words)
    assert known_words(TINY) == words[: TINY.known] and "cat" in known_words(TINY)


def test_shares_are_of_attempts_on_all_objects():
    def row(*seen: bool, kind: str = "synonyms"):
        return {name: [{"seen": each, "kind": kind} for each in seen] for name in ATTACKS}

    results = {
        "cats": {"words": [["synonyms", "a kitty", True], ["synonyms", "a lion", False]], "rows": {"off": row(True)}},
        "dogs": {"words": [["denials", "not", True]], "rows": {"off": row(False, False, kind="denials")}},
    }
    figure = summary(results)["off"]["noised"]
    assert (figure["ua"], figure["attempts"]) == (0.6667, 3)
    assert words_of(results) == {
        "synonyms": {"asked": 2, "drawn": 1, "ua": {"off": 0.0}},
        "denials": {"asked": 1, "drawn": 1, "ua": {"off": 1.0}},
    }
    empty = {"cats": {"words": [], "rows": {"off": {name: [] for name in ATTACKS}}}}
    assert summary(empty)["off"]["half"] is None
