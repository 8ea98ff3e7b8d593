"""Feature sets: computed from statistics, loaded from a file or from pasted JSON, saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..saeuron.errors import SaeuronError
from ..saeuron.features.before_after import BeforeAfter
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.features.selection import SelectionSettings, select_features
from ..saeuron.features.statistics import ActivationStatistics
from ..saeuron.figures.tables import feature_set_table
from .host.folders import find_feature_set, fingerprint, hidden_by, list_feature_sets, own_feature_set
from .host.pictures import as_image, to_pixels
from .host.runs import show_text
from .host.searching import also_found_as
from .host.sockets import CATEGORY, FEATURE_SET, STATISTICS

PASTED = "pasted JSON"


class SaeuronSelectFeatures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronSelectFeatures",
            display_name="Select Features",
            category=CATEGORY,
            **also_found_as("sae", "find concept", "unlearn"),
            description="Compares statistics with and without the concept and picks the features that belong to it.",
            inputs=[
                STATISTICS.Input("concept_statistics", tooltip="Collected with prompts that name the concept."),
                STATISTICS.Input("other_statistics", tooltip="Collected with prompts that do not name it."),
                io.String.Input("concept", default="", tooltip="The concept's name, for reports and file names."),
                io.Int.Input("tau", default=10, min=1, max=100_000, tooltip="How many features to take, best first."),
                io.Boolean.Input(
                    "per_step",
                    default=False,
                    tooltip="On: features are chosen for each step of this schedule. Off: one choice for all steps.",
                ),
                io.Float.Input(
                    "dead",
                    default=0.01,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Features that fire less often than this are left out.",
                ),
                io.Float.Input(
                    "overactive",
                    default=0.99,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Features that fire more often than this are left out.",
                ),
                io.Combo.Input(
                    "rate_unit",
                    options=["image", "token"],
                    default="image",
                    tooltip="What dead and overactive count: pictures where a feature fires anywhere, or tokens.",
                ),
                io.Float.Input(
                    "overlap",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Leaves out features that fire on the other prompts at more than this fraction of what "
                    "they do on the concept's. 1 keeps all, as published; 0.1 spares what looks like the concept.",
                ),
            ],
            outputs=[
                FEATURE_SET.Output(
                    display_name="feature_set", tooltip="For Unlearn, Replace Concept and Save Feature Set."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        concept_statistics: ActivationStatistics,
        other_statistics: ActivationStatistics,
        concept: str,
        tau: int,
        per_step: bool,
        dead: float,
        overactive: float,
        rate_unit: str,
        overlap: float = 1.0,
    ) -> io.NodeOutput:
        settings = SelectionSettings(tau, dead, overactive, rate_unit, per_step, overlap=overlap)
        feature_set = select_features(concept_statistics, other_statistics, settings)
        feature_set = replace(feature_set, concept=concept.strip() or "concept")
        return io.NodeOutput(feature_set, ui=show_text(cls, feature_set_table(feature_set)))


class SaeuronLoadFeatureSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronLoadFeatureSet",
            display_name="Load Feature Set",
            category=CATEGORY,
            **also_found_as("sae", "load concept", "unlearn"),
            description="Loads a concept's features from models/feature_sets, from the sets that come with the pack, "
            "or from JSON pasted into the node, so that a shared workflow needs no other file.",
            inputs=[
                io.Combo.Input(
                    "feature_set_name",
                    options=[PASTED, *list_feature_sets()],
                    default=PASTED,
                    tooltip="A file, or the text below.",
                ),
                io.String.Input(
                    "json",
                    multiline=True,
                    default="",
                    tooltip="The content of a feature set file; read only if 'pasted JSON' is chosen.",
                ),
            ],
            outputs=[FEATURE_SET.Output(display_name="feature_set", tooltip="For Unlearn and Replace Concept.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, feature_set_name: str = "") -> bool:
        """Newer hosts would refuse a name that is not in the list, without a word about what to do."""
        return True

    @classmethod
    def fingerprint_inputs(cls, feature_set_name: str, **_: Any) -> Any:
        return None if feature_set_name == PASTED else fingerprint(find_feature_set(feature_set_name))

    @classmethod
    def execute(cls, feature_set_name: str, json: str) -> io.NodeOutput:
        if feature_set_name != PASTED:
            feature_set = FeatureSet.load(find_feature_set(feature_set_name))
        elif json.strip():
            feature_set = FeatureSet.from_json(json)
        else:
            raise SaeuronError("No feature set: choose a file, or paste the content of one into the json field.")
        table = show_text(cls, feature_set_table(feature_set))
        if feature_set.picture is None:
            return io.NodeOutput(feature_set, ui=table)
        picture = ui.PreviewImage(as_image(feature_set.picture.pixels()[None]))
        return io.NodeOutput(feature_set, ui=table.as_dict() | picture.as_dict())


class SaeuronSaveFeatureSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronSaveFeatureSet",
            display_name="Save Feature Set",
            category=CATEGORY,
            **also_found_as("sae", "save concept"),
            description="Writes a feature set as a readable JSON file to models/feature_sets, if you like with a small "
            "picture of what it does.",
            inputs=[
                FEATURE_SET.Input("feature_set", tooltip="From Select Features, or another node that finds features."),
                io.String.Input("name", default="my-concept", tooltip="File name without .json; / makes folders."),
                io.Boolean.Input("overwrite", default=False, tooltip="Off: an existing file is an error."),
                io.Image.Input(
                    "before",
                    optional=True,
                    tooltip="A picture of the model as it is, kept small in the file; of several, the first.",
                ),
                io.Image.Input("after", optional=True, tooltip="The same prompt and seed with an edit by this set."),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        feature_set: FeatureSet,
        name: str,
        overwrite: bool,
        before: Tensor | None = None,
        after: Tensor | None = None,
    ) -> io.NodeOutput:
        if (before is None) != (after is None):
            raise SaeuronError(
                f"{'before' if before is None else 'after'} is not connected. Connect before and after, or neither."
            )
        if before is not None and after is not None:
            picture = BeforeAfter.of(to_pixels(before[:1])[0], to_pixels(after[:1])[0])
            feature_set = replace(feature_set, picture=picture)
        path = own_feature_set(name)
        if path.exists() and not overwrite:
            raise SaeuronError(
                f"{path.name} exists already in {str(path.parent)!r}. Choose another name, or turn overwrite on."
            )
        feature_set.save(path)
        lines = [f"Saved {path.name} in {path.parent}"]
        lines += [f"No longer found, because it has the same name: {other}" for other in hidden_by(path)]
        if feature_set.picture is not None:
            lines.append(f"with a picture before and after, {len(feature_set.picture.jpeg) / 1024:.1f} KB")
        return io.NodeOutput(ui=show_text(cls, "\n".join([*lines, replace(feature_set, picture=None).to_json()])))
