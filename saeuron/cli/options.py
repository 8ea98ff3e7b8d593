"""Options that commands share, and what they are turned into."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..edits.intervention import MODES, RULES, Intervention
from ..edits.replace import Replacement
from ..errors import SaeuronError
from ..features.feature_set import FeatureSet
from ..features.forgetting import parse_concepts, with_article
from ..reference.replacing import ReferenceReplacement
from ..sae.files import LoadedSAE, load_sae
from ..sae.formats import Placement
from ..sae.model import ACTIVATIONS, KINDS

MINIATURE = "miniature"
MINIATURE_SAE = Path(__file__).parents[1] / "miniature" / "saes" / "miniature-up_blocks.0.attentions.1.safetensors"
DTYPES = ("float32", "float16", "bfloat16")


class Result(NamedTuple):
    """What a command found: for a program, and for a person."""

    document: dict[str, Any]
    text: str


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], Result], about: str) -> Any:
    parser = commands.add_parser(name, help=about, description=about)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)
    return parser


def add_placement(parser: Any) -> None:
    group = parser.add_argument_group("where the SAE belongs, if its file does not say")
    group.add_argument("--base-model", default="", help="sdxl-turbo, sdxl, sd15 or saeuron-miniature")
    group.add_argument("--hookpoint", default="", help="like up_blocks.0.attentions.1")
    group.add_argument("--kind", default="", choices=("", *KINDS), help="what it reads there")
    group.add_argument("--read-as", default="", choices=("", *ACTIVATIONS), help="what makes its codes, by choice")


def add_model(parser: Any) -> None:
    group = parser.add_argument_group("model and sampling")
    group.add_argument(
        "--model",
        default=MINIATURE,
        help="a folder with an SDXL or SD 1.x pipeline of diffusers, a hub name, or miniature",
    )
    group.add_argument("--sae", type=Path, help="an SAE's file or folder; with the miniature its own if left out")
    group.add_argument("--steps", type=int, default=4)
    group.add_argument("--cfg", type=float, default=1.0)
    group.add_argument("--negative", default="", help="negative prompt, with cfg above 1")
    group.add_argument("--width", type=int, default=0, help="pixels; 0: what the model was trained on")
    group.add_argument("--height", type=int, default=0)
    group.add_argument("--batch", type=int, default=8, help="pictures at once")
    group.add_argument("--seed", type=int, default=42, help="of the first picture")
    group.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    group.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    group.add_argument("--ray-address", default="", help="draw on a Ray cluster: its address, auto, or local")
    add_placement(parser)


def add_intervention(parser: Any) -> None:
    parser.add_argument("--features", type=Path, required=True, help="a feature set")
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    parser.add_argument("--rule", choices=RULES, default=RULES[0])


def add_replacement(parser: Any) -> None:
    group = parser.add_argument_group("with --replace")
    group.add_argument("--strength", type=float, default=1.0, help="0 to 2; a style needs about 1.5, and --growth 64")
    group.add_argument("--sensitivity", type=float, default=1.0, help="2 finds the concept in half as many tokens")
    group.add_argument("--growth", type=int, default=0, help="widens the mask, in tokens of the block")
    group.add_argument("--feather", type=int, default=0, help="fades its edge, over so many tokens")
    group.add_argument("--look-first", action="store_true", help="draw twice, to see where it stands: the rest stays")


def placement_of(arguments: argparse.Namespace) -> Placement:
    return Placement(arguments.base_model, arguments.hookpoint, arguments.kind, arguments.read_as)


def intervention_of(arguments: argparse.Namespace, multiplier: float) -> Intervention:
    return Intervention(FeatureSet.load(arguments.features), multiplier, arguments.mode, arguments.rule)


def replacement_of(arguments: argparse.Namespace) -> ReferenceReplacement:
    """What ``--replace`` asks for. Errors: `SaeuronError` unless it is one concept and what is to stand there."""
    asked, *more = parse_concepts(arguments.replace)
    if more or not asked.instead:
        raise SaeuronError(f"Write after --replace one thing and what to draw instead; found {arguments.replace!r}.")
    concept, instead = map(with_article, asked)
    feature_set = FeatureSet.load(arguments.features)
    how = arguments.strength, arguments.sensitivity, arguments.growth, arguments.feather
    replacement = Replacement(feature_set, *how, look_first=arguments.look_first)
    return ReferenceReplacement(replacement, concept, instead)


def sae_of(arguments: argparse.Namespace) -> LoadedSAE:
    path = arguments.sae or (MINIATURE_SAE if arguments.model == MINIATURE else None)
    if path is None:
        raise SaeuronError(
            "Say with --sae which SAE to use. `python -m saeuron download surokpro2/sdxl-saes` lists those of "
            "SDXL-Turbo, and with a name after it puts one into models/saes."
        )
    return load_sae(path, placement_of(arguments))


def model_of(arguments: argparse.Namespace) -> Any:
    """The `DiffusersModel` that ``--model`` names."""
    import torch

    from ..reference.miniature import load_miniature
    from ..reference.models import load_model

    dtype = getattr(torch, arguments.dtype)
    if arguments.model == MINIATURE:
        return load_miniature(arguments.device, dtype)
    return load_model(arguments.model, arguments.device, dtype)


def reference_settings(arguments: argparse.Namespace) -> Any:
    """The `ReferenceSettings` that are asked for."""
    from ..reference.sampling import ReferenceSettings

    return ReferenceSettings(
        arguments.steps, arguments.cfg, arguments.width, arguments.height, arguments.batch, arguments.negative
    )


def pipeline_of(arguments: argparse.Namespace, pictures: int) -> Any:
    """A `ReferencePipeline`, or with ``--ray-address`` one on a cluster, with a progress bar over `pictures`."""
    if arguments.ray_address:
        from .cluster import ClusterPipeline

        return ClusterPipeline(arguments, _bar(pictures).update)
    from ..reference.pipeline import ReferencePipeline

    settings, loaded = reference_settings(arguments), sae_of(arguments)
    model = model_of(arguments)
    bar = _bar(pictures)  # last: a package that is missing has been asked for by the model's loader
    return ReferencePipeline(model, loaded, settings, bar.update)


def _bar(pictures: int) -> Any:
    """Only where a person looks on, and there is something to count."""
    from tqdm import tqdm

    return tqdm(total=pictures, unit="picture", disable=None if pictures else True)
