"""Commands that measure: several multipliers on held-out prompts, and pictures that are already there."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SaeuronError
from ..evaluation.classifier import Classifier
from ..evaluation.metrics import compare_unlearning
from ..evaluation.reports import unlearning_report
from ..evaluation.sweep import Sweep, subjects_of, sweep_rows, sweep_table
from ..prompts import parse_multipliers, read_prompts
from .options import Result, add_command, add_intervention, add_model, intervention_of, pipeline_of


def add_commands(commands: Any) -> None:
    sweep = add_command(commands, "sweep", _sweep, "Measure what several multipliers remove and what they cost.")
    sweep.add_argument("prompts", type=Path, help="held-out prompts that ask for the concept")
    sweep.add_argument("--others", type=Path, help="other prompts, lines 'label | prompt'")
    sweep.add_argument("--multipliers", default="-1, -5, -10, -20")
    sweep.add_argument("--seeds", type=int, default=1, help="pictures for each prompt")
    _add_judge(sweep)
    add_intervention(sweep)
    add_model(sweep)

    evaluate = add_command(commands, "evaluate", _evaluate, "Judge pictures of `generate`: is the concept gone?")
    evaluate.add_argument("pictures", type=Path, help="the folder with before/ and after/")
    _add_judge(evaluate)


def _add_judge(parser: Any) -> None:
    parser.add_argument("--classifier", type=Path, required=True, help="a transformers folder or a checkpoint")
    parser.add_argument("--label", required=True, help="what the classifier calls the concept")


def _sweep(arguments: Namespace) -> Result:
    judge, multipliers = Classifier(arguments.classifier), parse_multipliers(arguments.multipliers)
    intervention = intervention_of(arguments, multipliers[0])
    others = read_prompts(arguments.others) if arguments.others else []
    subjects = subjects_of(read_prompts(arguments.prompts), others, arguments.seeds, arguments.seed, judge.label)
    pipeline = pipeline_of(arguments, (1 + len(multipliers)) * (len(subjects.concept) + len(subjects.others)))
    points = list(
        Sweep(pipeline, subjects, intervention, judge.classify, judge.label(arguments.label)).run(multipliers)
    )
    return Result({"points": sweep_rows(points)}, sweep_table(points))


def _evaluate(arguments: Namespace) -> Result:
    judge = Classifier(arguments.classifier)
    label = judge.label(arguments.label)
    before, after = (judge.classify(load_pictures(arguments.pictures / part)) for part in ("before", "after"))
    figures = compare_unlearning(after, before, label)
    return Result(
        {"pictures": len(after), "unlearning_accuracy": figures.accuracy, "baseline": figures.baseline,
         "removed": figures.removed},
        unlearning_report(after, label, before),
    )  # fmt: skip


def load_pictures(folder: Path) -> np.ndarray:
    """uint8 [B, H, W, 3] of a folder's PNG files, in order of their names. Errors: `SaeuronError`."""
    from PIL import Image, UnidentifiedImageError

    files = sorted(folder.glob("*.png"))
    if not files:
        raise SaeuronError(f"There are no .png pictures in {folder}. Draw some with `python -m saeuron generate`.")
    try:
        pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    except UnidentifiedImageError as error:
        raise SaeuronError(f"{folder} holds a file that is no picture. ({error})") from error
    if len({picture.shape for picture in pictures}) > 1:
        raise SaeuronError(f"The pictures in {folder} differ in size.")
    return np.stack(pictures)
