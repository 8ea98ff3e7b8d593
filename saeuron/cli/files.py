"""Commands that need no model: look at an SAE, choose features, bring an SAE into our format."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..features.selection import MEANS_OF_ALL, SelectionSettings, select_features
from ..features.statistics import RATE_UNITS, ActivationStatistics
from ..figures.tables import feature_set_table
from ..sae.files import load_sae, save_sae
from ..sae.formats import WRITERS
from .options import Result, add_command, add_placement, placement_of


def add_commands(commands: Any) -> None:
    inspect = add_command(commands, "inspect", _inspect, "Say what an SAE is and where it belongs.")
    inspect.add_argument("sae", type=Path, help="a file of ours or a folder in a published layout")
    add_placement(inspect)

    select = add_command(commands, "select", _select, "Choose a concept's features from statistics.")
    select.add_argument("concept_statistics", type=Path)
    select.add_argument("other_statistics", type=Path, nargs="+", help="merged, if more than one")
    select.add_argument("--output", type=Path, required=True, help="the feature set, .json")
    defaults = SelectionSettings()
    select.add_argument("--tau", type=int, default=defaults.tau, help="how many features")
    select.add_argument("--dead", type=float, default=defaults.dead)
    select.add_argument("--overactive", type=float, default=defaults.overactive)
    select.add_argument("--rate-unit", choices=RATE_UNITS, default=defaults.rate_unit)
    select.add_argument("--mean-all", choices=MEANS_OF_ALL, default=defaults.mean_all)
    select.add_argument("--per-step", action="store_true")
    select.add_argument("--overlap", type=float, default=defaults.overlap, help="0 to 1; small: the concept's alone")

    convert = add_command(commands, "convert", _convert, "Write any readable SAE as a file of ours, or for others.")
    convert.add_argument("sae", type=Path)
    convert.add_argument("output", type=Path, help="a .safetensors file; a folder with another layout than ours")
    convert.add_argument(
        "--layout", choices=("ours", *WRITERS), default="ours", help="others' own readers learn less of its place"
    )
    convert.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    add_placement(convert)


def _inspect(arguments: Namespace) -> Result:
    loaded = load_sae(arguments.sae, placement_of(arguments))
    document: dict[str, Any] = loaded.identity.as_dict()
    lines = [loaded.identity.describe()]
    if loaded.figures is not None:
        document["figures"] = asdict(loaded.figures)
        lines.append(f"on {loaded.figures.model}: {loaded.figures.describe()}")
    if loaded.assumed:
        document["assumed"] = list(loaded.assumed)
    return Result(document, "\n".join(filter(None, (*lines, loaded.note()))))


def _select(arguments: Namespace) -> Result:
    concept = ActivationStatistics.load(arguments.concept_statistics)
    others = ActivationStatistics.merged([ActivationStatistics.load(path) for path in arguments.other_statistics])
    settings = SelectionSettings(
        arguments.tau,
        arguments.dead,
        arguments.overactive,
        arguments.rate_unit,
        arguments.per_step,
        arguments.mean_all,
        arguments.overlap,
    )
    feature_set = select_features(concept, others, settings)
    feature_set.save(arguments.output)
    steps = [[feature.index for feature in step.features] for step in feature_set.steps]
    return Result({"output": str(arguments.output), "features": steps}, feature_set_table(feature_set))


def _convert(arguments: Namespace) -> Result:
    import torch

    loaded = load_sae(arguments.sae, placement_of(arguments))
    identity = loaded.identity
    if arguments.layout != "ours":
        WRITERS[arguments.layout](arguments.output, loaded.sae, loaded.placement, loaded.figures)
        text = f"{identity.describe()}, written to {arguments.output} as {arguments.layout} does"
        return Result({"output": str(arguments.output), "layout": arguments.layout, "sae": identity.as_dict()}, text)
    save_sae(arguments.output, loaded.sae, loaded.placement, getattr(torch, arguments.dtype), loaded.figures)
    written = load_sae(arguments.output)
    text = "\n".join(filter(None, (written.identity.describe(), written.note())))
    return Result({"output": str(arguments.output), "sae": written.identity.as_dict()}, text)
