"""Metrics against scikit-learn, and the shipped judges on drawings of their own making."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from saeuron.errors import SaeuronError
from saeuron.evaluation.classifier import Classifier
from saeuron.evaluation.metrics import accuracy, unlearning_accuracy
from tools.host import REPOSITORY

LABELS = ("cats", "dogs", "towers")


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1))
def test_metrics_are_scikit_learn_s(pairs):
    found, truth = zip(*pairs, strict=True)
    assert accuracy(found, truth) == pytest.approx(accuracy_score(truth, found))
    recall = recall_score(["cats"] * len(found), found, labels=["cats"], average="micro", zero_division=0)
    assert unlearning_accuracy(found, "cats") == pytest.approx(1 - recall)


def test_no_pictures_is_an_error_not_a_number():
    with pytest.raises(SaeuronError, match="no pictures"):
        accuracy([], [])
    with pytest.raises(SaeuronError, match="no pictures"):
        unlearning_accuracy([], "cats")


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
