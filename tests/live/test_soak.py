"""The short form of `python -m tools.bench.soak traces`."""

from __future__ import annotations

import random

import pytest

from tools.bench.soak.traces import drawing, edited, leave_no_trace, off
from tools.host.server import ComfyServer


def test_plain_pictures_stay_the_same(server: ComfyServer) -> None:
    outcome = leave_no_trace(server, prompts=12)
    assert outcome.cases == 12
    assert not outcome.failures


def test_the_plain_picture_is_drawn_anew_after_an_edited_one(server: ComfyServer) -> None:
    """Else the soak would compare a cached picture with itself."""
    plain = drawing(off, random.Random(0), seed=1)
    server.run(plain)
    server.run(drawing(edited, random.Random(0), seed=1))
    record = server.record(plain)
    ran = {plain[id_]["class_type"] for id_ in record.executed}
    assert "KSampler" in ran and "SaeuronLoadMiniature" not in ran


def test_a_change_is_found(server: ComfyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.bench.soak.traces.PLAIN", (edited,))
    failures = leave_no_trace(server, prompts=2).failures
    assert len(failures) == 1 and "has changed" in failures[0]
