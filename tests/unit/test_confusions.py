"""What becomes of neighbours: shares by rank, and what is seen in another's place."""

from __future__ import annotations

from saeuron.evaluation.benchmark import Concept
from tools.evaluation.confusions import RANKS, summary
from tools.evaluation.instead import instead_of


def picture(asked: str, seen: str, rank: int, seen_style: str = "gray") -> dict[str, object]:
    return {"asked": asked, "seen": seen, "rank": rank, "style": "gray", "seen_style": seen_style}


def test_every_other_object_has_a_rank():
    assert sorted(rank for ranks in RANKS.values() for rank in ranks) == list(range(19))


def test_mistakes_are_counted_by_what_is_seen():
    instead = instead_of(Concept("objects", "cats"), "neighbour")
    pictures = [
        picture("dogs", "dogs", 0),
        picture("bears", "cats", 1),
        picture("frogs", instead, 2, "crayon"),
        picture("sea", "trees", 5),
        picture("towers", "towers", 12),
    ]
    (row,) = summary({"replace": {"cats": pictures}}).values()
    assert row["right"] == {"1 to 3": 0.3333, "4 to 9": 0.0, "10 to 19": 1.0}
    assert (row["style"], row["pictures"], row["removed_seen"], row["instead_seen"]) == (0.8, 5, 1, 1)
    assert ("cats: sea as trees", 1) in row["confusions"] and len(row["confusions"]) == 3
