"""Unlearning and retained accuracy of pictures, with a classifier as the judge."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.errors import SaeuronError
from ..saeuron.evaluation.classifier import Classifier
from ..saeuron.evaluation.metrics import accuracy, unlearning_accuracy
from ..saeuron.evaluation.reports import retain_report, unlearning_report
from ..saeuron.prompts import parse_prompts
from .host.folders import find_classifier, fingerprint, list_classifiers
from .host.patchers import patcher_for
from .host.pictures import to_pixels
from .host.runs import show_text
from .host.sockets import CLASSIFIER, EVALUATION, HostedClassifier

BASELINE_TOOLTIP = (
    "The same prompts and seeds without Unlearn, in the same order, to see what the edit did and what was so before."
)


class SaeuronLoadClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronLoadClassifier",
            display_name="Load Classifier",
            category=EVALUATION,
            description="Loads an image classifier that judges what pictures show: a transformers folder or an "
            "UnlearnCanvas checkpoint in models/classifiers, or one of the miniature's two judges.",
            inputs=[
                io.Combo.Input(
                    "classifier_name",
                    options=list_classifiers(),
                    tooltip="Folder or .pth file in models/classifiers. miniature-objects and miniature-styles come "
                    "with the pack and know the miniature's drawings only.",
                )
            ],
            outputs=[CLASSIFIER.Output(display_name="classifier", tooltip="For the accuracies.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, classifier_name: str = "") -> bool:
        """Newer hosts would refuse a name that is not in the list, without a word about what to do."""
        return True

    @classmethod
    def fingerprint_inputs(cls, classifier_name: str, **_: Any) -> Any:
        return fingerprint(find_classifier(classifier_name))

    @classmethod
    def execute(cls, classifier_name: str) -> io.NodeOutput:
        classifier = Classifier(find_classifier(classifier_name))
        patcher = patcher_for(classifier.module, whole=True)
        text = f"{len(classifier.labels)} labels: {', '.join(classifier.labels)}"
        return io.NodeOutput(HostedClassifier(patcher, classifier), ui=show_text(cls, text))


class SaeuronUnlearningAccuracy(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronUnlearningAccuracy",
            display_name="Unlearning Accuracy",
            category=EVALUATION,
            description="UA: the share of pictures on which the classifier does not see the concept, though the "
            "prompts ask for it. 1 means that it is gone.",
            inputs=[
                io.Image.Input("images", tooltip="Pictures of prompts that name the concept, drawn with Unlearn."),
                CLASSIFIER.Input("classifier", tooltip="From Load Classifier; one that knows the concept."),
                io.String.Input("concept", default="cats", tooltip="The classifier's label for the concept."),
                io.Image.Input("baseline", optional=True, tooltip=BASELINE_TOOLTIP),
            ],
            outputs=[
                io.Float.Output(display_name="accuracy", tooltip="UA, 0 to 1."),
                io.String.Output(display_name="report", tooltip="With its interval, and against the baseline."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, images: Tensor, classifier: HostedClassifier, concept: str, baseline: Tensor | None = None
    ) -> io.NodeOutput:
        label = classifier.classifier.label(concept)
        found, before = _judged(classifier, images, baseline)
        report = unlearning_report(found, label, before)
        return io.NodeOutput(unlearning_accuracy(found, label), report, ui=show_text(cls, report))


class SaeuronRetainAccuracy(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronRetainAccuracy",
            display_name="Retained Accuracy",
            category=EVALUATION,
            description="The share of pictures on which the classifier sees what was asked for, with the edit on: IRA "
            "for other concepts of the same kind, CRA for another kind, such as styles when an object is removed.",
            inputs=[
                io.Image.Input("images", tooltip="Pictures of prompts for other things, drawn with Unlearn."),
                CLASSIFIER.Input("classifier", tooltip="From Load Classifier; one that knows the labels."),
                io.String.Input(
                    "labels",
                    multiline=True,
                    default="",
                    tooltip="What each picture should show, one of the classifier's labels a line, in the order of the "
                    "pictures; or a single line for all of them.",
                ),
                io.Image.Input("baseline", optional=True, tooltip=BASELINE_TOOLTIP),
            ],
            outputs=[
                io.Float.Output(display_name="accuracy", tooltip="Retained accuracy, 0 to 1."),
                io.String.Output(display_name="report", tooltip="With its interval, by label, against the baseline."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, images: Tensor, classifier: HostedClassifier, labels: str, baseline: Tensor | None = None
    ) -> io.NodeOutput:
        truth = _labels(labels, len(images), classifier.classifier)
        found, before = _judged(classifier, images, baseline)
        report = retain_report(found, truth, before)
        return io.NodeOutput(accuracy(found, truth), report, ui=show_text(cls, report))


def _judged(
    classifier: HostedClassifier, images: Tensor, baseline: Tensor | None
) -> tuple[list[str], list[str] | None]:
    """What the classifier sees on each of `images`, and on each of `baseline` where there is one."""
    judge = classifier.ready()
    return judge.classify(to_pixels(images)), None if baseline is None else judge.classify(to_pixels(baseline))


def _labels(text: str, pictures: int, classifier: Classifier) -> list[str]:
    """The classifier's label for each picture."""
    lines = [classifier.label(line) for line in parse_prompts(text)]
    if not lines:
        raise SaeuronError("There are no labels. Write what the pictures should show, one label a line.")
    if len(lines) not in (1, pictures):
        raise SaeuronError(
            f"There are {len(lines)} labels for {pictures} pictures. Write one a picture, or a single one for all."
        )
    return lines if len(lines) == pictures else lines * pictures
