"""Commands that record activations, and train SAEs on them."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SaeuronError
from ..figures.training import training_table
from ..files import write_atomically
from ..json_text import format_json
from ..miniature.architecture import BASE_MODEL, DECISIVE
from ..prompts import read_prompts, split_labels
from ..sae.base_models import find_base_model
from ..sae.files import load_sae
from ..sae.hookpoints import SAEURON, SDXL_UNBOX
from .options import MINIATURE, Result, add_command, add_model, model_of, placement_of, reference_settings

if TYPE_CHECKING:
    from ..reference.activations import DrawnActivations

LOSS_PICTURES = 16
"""On which it is measured how much of the diffusion loss an SAE recovers."""


def add_commands(commands: Any) -> None:
    record = add_command(commands, "record", _record, "Keep a model's activations on disk, to train SAEs on.")
    record.add_argument("prompts", type=Path, help="a text file, one prompt a line")
    record.add_argument("--output", type=Path, required=True, help="a folder for the shards and their index")
    record.add_argument("--pictures", type=int, default=512, help="to draw, in all")
    _add_source(record)
    add_model(record)

    train = add_command(commands, "train", _train, "Train SAEs for a model's blocks.")
    train.add_argument("prompts", type=Path, nargs="?", help="a text file, one prompt a line; drawn while it trains")
    train.add_argument("--activations", type=Path, help="a folder of `record`, in place of prompts")
    train.add_argument("--output", type=Path, required=True, help="a folder; a run that was ended goes on there")
    _add_source(train)
    sizes = train.add_argument_group("what is trained: one SAE for each hookpoint, n and k")
    sizes.add_argument("--n", type=int, nargs="+", help="features; 8 times the block's width if left out")
    sizes.add_argument("--k", type=int, nargs="+", default=[10], help="features a token")
    sizes.add_argument("--activation", default="topk", help="topk or batchtopk")
    sizes.add_argument("--start", type=Path, help="an SAE to go on from, of the same hookpoint and n")
    how = train.add_argument_group("how")
    how.add_argument("--training-steps", type=int, default=5000)
    how.add_argument("--tokens", type=int, default=4096, help="in a batch")
    how.add_argument("--rate", type=float, default=1e-3)
    how.add_argument("--dead-after", type=int, default=200_000, help="tokens without firing")
    how.add_argument("--pictures", type=int, default=256, help="in memory at once, and as many that are read ahead")
    how.add_argument("--held-out", type=int, default=64, help="pictures that only the figures are made of")
    how.add_argument("--evaluate-every", type=int, default=500, help="steps; the best SAE is kept")
    add_model(train)


def _add_source(parser: Any) -> None:
    parser.add_argument("--hookpoints", nargs="+", help="blocks to read, all in one pass")
    parser.add_argument("--labelled", action="store_true", help="lines are 'label | prompt'; gives the AUC of labels")


def _record(arguments: Namespace) -> Result:
    from ..training.shards import shards_in, write_index, write_shard

    drawn = _drawn(arguments, arguments.pictures)
    numbers = range(shards_in(arguments.pictures))
    shards = [write_shard(arguments.output, drawn, number, arguments.pictures) for number in numbers]
    write_index(arguments.output, drawn, shards)
    return Result(
        {"output": str(arguments.output), "shards": len(shards), "widths": dict(drawn.widths)},
        f"{arguments.pictures} pictures at {', '.join(drawn.widths)} in {arguments.output}",
    )


def _train(arguments: Namespace) -> Result:
    from ..training.activations import width_of
    from ..training.processes import ALONE, accelerated
    from ..training.run import Job, Progress, RunSettings, TrainingRun, figures_of
    from ..training.settings import TrainingSettings
    from ..training.shards import StoredShards

    if (arguments.prompts is None) == (arguments.activations is None):
        raise SaeuronError("Give prompts to draw while training, or --activations with a folder of `record`; not both.")
    processes = accelerated() if os.environ.get("WORLD_SIZE", "1") != "1" else ALONE
    source: Any = StoredShards(arguments.activations) if arguments.activations else _drawn(arguments, None)
    start = load_sae(arguments.start, placement_of(arguments)).sae if arguments.start else None
    jobs = [
        Job(
            hookpoint,
            TrainingSettings(
                n=n, k=k, steps=arguments.training_steps, batch=arguments.tokens, activation=arguments.activation,
                rate=arguments.rate, dead_after=arguments.dead_after, seed=arguments.seed,
            ),
            start,
        )
        for hookpoint in dict.fromkeys(arguments.hookpoints or source.widths)
        for n in arguments.n or [8 * width_of(source, hookpoint)]
        for k in arguments.k
    ]  # fmt: skip
    settings = RunSettings(
        arguments.pictures, arguments.held_out, arguments.evaluate_every, arguments.evaluate_every, arguments.seed
    )
    run = TrainingRun(source, jobs, settings, arguments.output, processes.device or arguments.device, processes)
    from tqdm import tqdm

    bar = tqdm(total=len(jobs) * arguments.training_steps, unit="step", disable=None if not processes.rank else True)

    def watch(progress: Progress) -> None:
        bar.update()
        bar.set_postfix_str(f"{progress.job.hookpoint} loss {progress.loss:.4f}", refresh=False)

    trained = run.run(watch)
    if arguments.activations is None:
        own = run.held_out[:LOSS_PICTURES]
        for job in jobs:
            one = trained[job.name]
            recovered = source.loss_recovered(job.hookpoint, one.sae, own)
            trained[job.name] = one._replace(report=replace(one.report, loss_recovered=recovered))
    figures = figures_of(trained)
    if not processes.rank:
        write_atomically(arguments.output / "figures.json", f"{format_json(figures)}\n".encode())
    return Result({"output": str(arguments.output), "saes": figures}, training_table(figures))


def _drawn(arguments: Namespace, pictures: int | None) -> Any:
    """The `Activations` of the pictures that are drawn: here, or with ``--ray-address`` on a cluster."""
    from tqdm import tqdm

    bar = tqdm(total=pictures, unit="picture", disable=None) if pictures else None
    progress = bar.update if bar else lambda _: None
    if not arguments.ray_address:
        return drawn_here(arguments, progress)
    from .cluster import ClusterActivations

    return ClusterActivations(arguments, drawn_here(arguments), progress)


def drawn_here(arguments: Namespace, progress: Callable[[int], object] = lambda _: None) -> DrawnActivations:
    """Errors: `SaeuronError` for a hookpoint or base model that the model has not; as `read_prompts`, `load_model`."""
    from ..reference.activations import DrawnActivations

    lines = read_prompts(arguments.prompts)
    labels, prompts = split_labels(lines, str) if arguments.labelled else ([], lines)
    is_miniature = arguments.model == MINIATURE
    model = model_of(arguments)
    return DrawnActivations(
        model,
        reference_settings(arguments),
        BASE_MODEL if is_miniature else _base_model(arguments.base_model, model.family),
        arguments.kind or "update",
        arguments.hookpoints or ((*SDXL_UNBOX, *DECISIVE.values()) if is_miniature else USUAL[model.family]),
        prompts,
        labels,
        arguments.seed,
        progress,
    )


USUAL = {"sdxl": SDXL_UNBOX, "sd15": SAEURON}
"""Family of a UNet -> where the published SAEs of its models read."""


def _base_model(chosen: str, family: str) -> str:
    """What the SAEs' files are to say. Errors: `SaeuronError` if it has another layout than the model's UNet."""
    if not chosen:
        return {"sdxl": "sdxl-turbo", "sd15": "sd15"}[family]
    if find_base_model(chosen).family != family:
        raise SaeuronError(
            f"--model has a UNet of {family}'s layout, which {chosen} has not; give another --base-model."
        )
    return chosen
