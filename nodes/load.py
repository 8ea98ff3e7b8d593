"""Loaders: an SAE, and the miniature model that the pack ships."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from ..saeuron.sae.base_models import BASE_MODELS
from ..saeuron.sae.files import Placement
from ..saeuron.sae.hookpoints import FAMILIES, canonical_name, hookpoints_of
from ..saeuron.sae.labels import labels_path, read_labels
from ..saeuron.sae.model import ACTIVATIONS, KINDS
from .host.folders import find_sae, fingerprint_sae, list_saes
from .host.patchers import host_sae
from .host.runs import show_text
from .host.searching import also_found_as
from .host.sockets import CATEGORY, SAE

FROM_FILE = "from file"


class SaeuronLoadSAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        hookpoints = sorted({hookpoint.name for family in FAMILIES for hookpoint in hookpoints_of(family)})
        return io.Schema(
            node_id="SaeuronLoadSAE",
            display_name="Load SAE",
            category=CATEGORY,
            **also_found_as("sae", "sparse autoencoder", "unlearn"),
            description="Loads a sparse autoencoder (SAE) from models/saes: a file in this pack's format, or a folder "
            "as sdxl-unbox or SAeUron published it.",
            inputs=[
                io.Combo.Input("sae_name", options=list_saes(), tooltip="File or folder in models/saes."),
                io.Combo.Input(
                    "hookpoint",
                    options=[FROM_FILE, *hookpoints],
                    default=FROM_FILE,
                    tooltip="The UNet block the SAE was trained on. Only needed where the file does not record it.",
                ),
                io.Combo.Input(
                    "kind",
                    options=[FROM_FILE, *KINDS],
                    default=FROM_FILE,
                    tooltip="What the SAE reads there: the block's update (output minus input) or its output. "
                    "Only needed where the file does not record it.",
                ),
                io.Combo.Input(
                    "base_model",
                    options=[FROM_FILE, *BASE_MODELS],
                    default=FROM_FILE,
                    tooltip="The model the SAE was trained on. Only needed where the file does not record it.",
                ),
                io.Combo.Input(
                    "activation",
                    options=[FROM_FILE, *ACTIVATIONS],
                    default=FROM_FILE,
                    tooltip="What makes the codes. Only needed for G-SAE (sigmoid), whose files do not say so, and "
                    "to have the k largest of each token of a BatchTopK SAE (topk).",
                    optional=True,
                ),
            ],
            outputs=[SAE.Output(display_name="sae", tooltip="For Forget, Unlearn, Collect Statistics and others.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, sae_name: str = "") -> bool:
        """Newer hosts would refuse a name that is not in the list, without a word about what to do."""
        return True

    @classmethod
    def fingerprint_inputs(cls, sae_name: str, **_: Any) -> Any:
        return fingerprint_sae(find_sae(sae_name))

    @classmethod
    def execute(
        cls, sae_name: str, hookpoint: str, kind: str, base_model: str, activation: str = FROM_FILE
    ) -> io.NodeOutput:
        chosen = Placement(
            base_model if base_model != FROM_FILE else "",
            canonical_name(hookpoint) if hookpoint != FROM_FILE else "",
            kind if kind != FROM_FILE else "",
            activation if activation != FROM_FILE else "",
        )
        path = find_sae(sae_name)
        labels = labels_path(path)
        hosted = host_sae(path, chosen)
        known = read_labels(labels, hosted.identity.n) if labels else {}
        ui = show_text(cls, hosted.note) if hosted.note else None
        return io.NodeOutput(hosted._replace(labels=known), ui=ui)


class SaeuronLoadMiniature(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronLoadMiniature",
            display_name="Load Miniature",
            category=CATEGORY,
            **also_found_as("sae", "unlearn", "small model"),
            description="Loads the small SDXL-shaped model that comes with the pack. It draws 20 kinds of objects in 5 "
            "styles, 192 x 192 pixels, at cfg 1, in seconds on a CPU: for trying things out, not for art.",
            inputs=[],
            outputs=[
                io.Model.Output(tooltip="For Unlearn and any sampler."),
                io.Clip.Output(tooltip="For CLIP Text Encode."),
                io.Vae.Output(tooltip="For VAE Decode."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from .host.miniature import load_miniature

        return io.NodeOutput(*load_miniature())
