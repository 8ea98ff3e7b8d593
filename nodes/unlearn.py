"""The node people come for: a MODEL that draws less of a concept."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..saeuron.edits.intervention import MODES, RULES, Intervention
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.figures.tables import effective_factor_table, with_note
from .host.model import Patch, add_patch
from .host.runs import Preview, node_id_of, show_text
from .host.searching import FORGETTING, also_found_as
from .host.sockets import CATEGORY, FEATURE_SET, SAE, HostedSAE, region_of
from .host.unet import find_site, fit_note
from .host.when import when_inputs, when_of


class SaeuronUnlearn(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronUnlearn",
            display_name="Unlearn",
            category=CATEGORY,
            **also_found_as(*FORGETTING),
            description="Turns a concept's features down while the model draws. Chain several for several concepts.",
            inputs=[
                io.Model.Input("model", tooltip="The model to patch; it is not changed itself."),
                SAE.Input("sae", tooltip="From Load SAE; the one the feature set was made with."),
                FEATURE_SET.Input("feature_set", tooltip="The concept's features."),
                io.Float.Input(
                    "multiplier",
                    default=-50.0,
                    min=-100.0,
                    max=10.0,
                    step=0.5,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Below 0 the concept is pushed away; the lower, the stronger. With the rule relative it is "
                    "in percent and means the same for every SAE and concept: start at -50. With the other rules the "
                    "right value differs; the node shows what each feature is multiplied by.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="exact",
                    tooltip="exact: only the concept's features change. seed and saeuron-code: as in published "
                    "code, errors included, for comparison.",
                ),
                io.Combo.Input(
                    "rule",
                    options=list(RULES),
                    default="relative",
                    tooltip="relative: the multiplier in percent, measured against each token's own length. gamma-mu: "
                    "features times the multiplier and their mean activation. gamma: times the multiplier alone. "
                    "zero: features are switched off, and the multiplier is not used.",
                ),
                *when_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the picture the concept is turned down; without it, everywhere.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="For a sampler, or another Unlearn.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        sae: HostedSAE,
        feature_set: FeatureSet,
        multiplier: float,
        mode: str,
        rule: str,
        mask: Tensor | None = None,
        **when: Any,
    ) -> io.NodeOutput:
        feature_set.check_sae(sae.identity)
        site = find_site(model, sae.identity)
        sigmas = tuple(step.sigma for step in feature_set.steps)
        intervention = Intervention(
            feature_set,
            multiplier,
            mode,
            rule,
            when_of(model, **when),
            region_of(mask),
        )
        factors = with_note(effective_factor_table(intervention, sae.labels), fit_note(model, sae.identity))
        patched = add_patch(model, Patch(site, sae, intervention, Preview(node_id_of(cls), factors, "Unlearn", sigmas)))
        return io.NodeOutput(patched, ui=show_text(cls, factors))
