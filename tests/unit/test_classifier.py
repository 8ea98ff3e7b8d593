"""Image classifiers as judges of what a picture shows."""

from __future__ import annotations

import numpy as np
import pytest

from saeuron.errors import SaeuronError
from saeuron.evaluation.classifier import Classifier
from tools.host import REPOSITORY


def test_shipped_judges_know_their_labels():
    folder = REPOSITORY / "saeuron" / "miniature" / "classifiers"
    objects, styles = Classifier(folder / "objects"), Classifier(folder / "styles")
    assert len(objects.labels) == 20 and {"cats", "towers"} <= set(objects.labels)
    assert set(styles.labels) == {"twemoji", "fluent", "gray", "contrast", "crayon"}
    picture = np.full((192, 192, 3), 200, dtype=np.uint8)
    assert objects.classify([picture, picture]) == objects.classify([picture]) * 2


def test_a_folder_that_is_no_classifier(tmp_path):
    with pytest.raises(SaeuronError, match="no image classifier"):
        Classifier(tmp_path)
