"""A feature set as bar charts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from comfy_api.v0_0_2 import io

from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.figures.tables import feature_set_table
from .host.pictures import as_image
from .host.runs import show_text
from .host.sockets import FEATURE_SET, FEATURES, SAE, HostedSAE


class SaeuronFeatureReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronFeatureReport",
            display_name="Feature Report",
            category=FEATURES,
            description="Shows the scores, mean activations and firing rates of a feature set as bars.",
            inputs=[
                FEATURE_SET.Input("feature_set", tooltip="The features to show."),
                SAE.Input("sae", optional=True, tooltip="Only for its labels, if there are some beside it."),
            ],
            outputs=[
                io.Image.Output(display_name="charts", tooltip="One picture, or one for each step of the set."),
                io.String.Output(display_name="table", tooltip="The same as text."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, feature_set: FeatureSet, sae: HostedSAE | None = None) -> io.NodeOutput:
        from ..saeuron.figures.plots import feature_bars

        labels: Mapping[int, str] = {}
        if sae is not None:
            feature_set.check_sae(sae.identity)
            labels = sae.labels
        rows = max(len(step.features) for step in feature_set.steps)
        charts = [
            feature_bars(
                feature_set.concept + ("" if step.sigma is None else f", sigma {step.sigma:.3g}"),
                step.features,
                labels,
                rows,
            )
            for step in feature_set.steps
        ]
        table = feature_set_table(feature_set, labels)
        return io.NodeOutput(as_image(np.stack(charts)), table, ui=show_text(cls, table))
