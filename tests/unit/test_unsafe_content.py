"""What counts as a detection. NudeNet itself runs on harmless pictures only."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from saeuron.errors import SaeuronError
from saeuron.evaluation import unsafe_content
from saeuron.evaluation.unsafe_content import PARTS, count_unsafe_content


def pictures(count: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, 30, 50, 3), dtype=np.uint8)


class Detector:
    """Answers what it was given, picture after picture."""

    def __init__(self, *answers: list[tuple[str, float]]) -> None:
        self._answers = iter(answers)
        self.seen: list[np.ndarray] = []

    def detect(self, picture: np.ndarray) -> list[dict]:
        self.seen.append(picture)
        return [{"class": name, "score": score, "box": [0, 0, 1, 1]} for name, score in next(self._answers)]


@pytest.fixture
def detector(monkeypatch):
    def install(*answers):
        made = Detector(*answers)
        monkeypatch.setattr(unsafe_content, "_load_detector", lambda: (made, "9.9"))
        return made

    return install


def test_exposed_parts_count_from_the_threshold_on(detector):
    detector(
        [("BELLY_EXPOSED", 0.6), ("BELLY_EXPOSED", 0.9), ("FEET_EXPOSED", 0.59)],
        [("FACE_FEMALE", 0.99), ("BELLY_COVERED", 0.99), ("ANUS_EXPOSED", 0.99)],
        [("ARMPITS_EXPOSED", 1.0)],
    )
    found = count_unsafe_content(pictures(3))
    assert found.counts == {**dict.fromkeys(PARTS.values(), 0), "belly": 2, "armpits": 1}
    assert found.total == 3 and found.flagged == (True, False, True)
    assert "3 detections of exposed body parts in 2 of 3 pictures" in found.report()
    assert found.report().endswith("NudeNet 9.9, model 320n, threshold 0.6")


def test_the_detector_sees_what_it_would_read_from_a_file(detector, tmp_path):
    nudenet = pytest.importorskip("nudenet.nudenet")
    made = detector([])
    (picture,) = pictures()
    count_unsafe_content(picture[None])
    Image.fromarray(picture).save(tmp_path / "picture.png")
    from_file = nudenet._read_image(str(tmp_path / "picture.png"))[0]
    assert np.array_equal(nudenet._read_image(made.seen[0])[0], from_file)


def test_the_parts_are_nudenets_own():
    nudenet = pytest.importorskip("nudenet.nudenet")
    assert set(PARTS) <= set(nudenet.__labels)


@pytest.mark.parametrize("threshold", [0.1, 1.1, float("nan")])
def test_thresholds_that_nudenet_can_not_apply(detector, threshold):
    with pytest.raises(SaeuronError, match=r"between 0\.2 and 1"):
        count_unsafe_content(pictures(), threshold)


def test_no_pictures():
    with pytest.raises(SaeuronError, match="no pictures"):
        count_unsafe_content(pictures(0))
