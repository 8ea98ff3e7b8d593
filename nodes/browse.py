"""All feature sets at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy_api.v0_0_2 import io, ui

from ..saeuron.errors import SaeuronError
from ..saeuron.features.feature_set import FeatureSet
from ..saeuron.figures.gallery import PER_SHEET, Found, gallery
from ..saeuron.sae.base_models import BASE_MODELS
from .host.folders import feature_set_files, fingerprint, is_shipped
from .host.pictures import as_image
from .host.runs import node_id_of, send_text
from .host.searching import also_found_as
from .host.sockets import FEATURES

ANY = "any"
MOST = 5 * PER_SHEET
"""Feature sets that are drawn at once."""


class SaeuronBrowseFeatureSets(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaeuronBrowseFeatureSets",
            display_name="Browse Feature Sets",
            category=FEATURES,
            **also_found_as("sae", "gallery", "load concept", "list feature sets"),
            description="Shows the feature sets in models/feature_sets and those that come with the pack: pictures "
            "before and after, the SAE they need, and how well they find their concept.",
            inputs=[
                io.String.Input(
                    "filter",
                    default="",
                    tooltip="Words that all have to be in the file name, concept, base model, hookpoint or note. "
                    "Empty: everything.",
                ),
                io.Combo.Input(
                    "base_model",
                    options=[ANY, *BASE_MODELS],
                    default=ANY,
                    tooltip="Only sets for this model, and files that can't be read.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip=f"A tile for each set, {PER_SHEET} on a picture."),
                io.String.Output(display_name="table", tooltip="A line for each set."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> Any:
        return fingerprint(*feature_set_files().values())

    @classmethod
    def execute(cls, filter: str, base_model: str) -> io.NodeOutput:
        there = list(_read_all())
        found = [entry for entry in there if entry.matches(filter.split()) and _is_for(entry, base_model)]
        if not found:
            raise SaeuronError(
                f"None of the {len(there)} feature sets matches {filter!r} for base model {base_model}. "
                "Write fewer words, or choose another base model."
            )
        broken = sum(entry.feature_set is None for entry in found)
        lines = [f"{len(found)} feature set{'' if len(found) == 1 else 's'}"]
        lines += [f"{broken} of them can't be read"] if broken else []
        lines += [f"only the first {MOST} are drawn; write a filter to see others"] if len(found) > MOST else []
        send_text("\n".join(lines), node_id_of(cls))
        sheet = as_image(gallery(found[:MOST]))
        return io.NodeOutput(sheet, "\n".join(entry.describe() for entry in found), ui=ui.PreviewImage(sheet))


def _read_all() -> Iterator[Found]:
    for file, path in feature_set_files().items():
        try:
            yield Found(file, is_shipped(path), FeatureSet.load(path))
        except SaeuronError as error:
            yield Found(file, is_shipped(path), None, str(error))


def _is_for(entry: Found, base_model: str) -> bool:
    return base_model == ANY or entry.feature_set is None or entry.feature_set.sae.base_model == base_model
