"""Commands that draw with the reference path: statistics of prompts, pictures before and after."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from ..files import write_png
from ..prompts import read_prompts
from ..shots import shots_of
from .options import Result, add_command, add_intervention, add_model, intervention_of, pipeline_of


def add_commands(commands: Any) -> None:
    collect = add_command(commands, "collect", _collect, "Record what an SAE's features do on prompts.")
    collect.add_argument("prompts", type=Path, help="a text file, one prompt a line")
    collect.add_argument("--output", type=Path, required=True, help="the statistics, .safetensors")
    collect.add_argument("--concept", default="", help="its name; the file's if left out")
    add_model(collect)

    generate = add_command(commands, "generate", _generate, "Draw prompts without and with an intervention.")
    generate.add_argument("prompts", type=Path, help="a text file, one prompt a line")
    generate.add_argument("--output", type=Path, required=True, help="a folder; before/ and after/ are made in it")
    generate.add_argument("--multiplier", type=float, required=True, help="gamma; below 0 removes")
    generate.add_argument("--seeds", type=int, default=1, help="pictures for each prompt")
    add_intervention(generate)
    add_model(generate)


def _collect(arguments: Namespace) -> Result:
    prompts = read_prompts(arguments.prompts)
    shots = shots_of(prompts, 1, arguments.seed)
    concept = arguments.concept or arguments.prompts.stem
    statistics = pipeline_of(arguments, len(shots)).collect(shots, concept)
    statistics.save(arguments.output)
    firing = int((statistics.total.sum(0) > 0).sum())
    return Result(
        {"output": str(arguments.output), "prompts": len(prompts), "firing": firing, "sigmas": statistics.sigmas},
        f"{concept}: {firing} of {statistics.sae.n} features fire on {len(prompts)} prompts; {arguments.output}",
    )


def _generate(arguments: Namespace) -> Result:
    intervention = intervention_of(arguments, arguments.multiplier)
    shots = shots_of(read_prompts(arguments.prompts), arguments.seeds, arguments.seed)
    pipeline = pipeline_of(arguments, 2 * len(shots))
    rows = []
    for folder, interventions in (("before", ()), ("after", (intervention,))):
        pictures = pipeline.draw(shots, interventions)
        for number, (shot, picture) in enumerate(zip(shots, pictures, strict=True)):
            path = arguments.output / folder / f"{number:04d}.png"
            write_png(path, picture)
            rows.append({"picture": str(path), "prompt": shot.prompt, "seed": shot.seed})
    return Result({"pictures": rows}, f"{len(shots)} pictures each in before and after in {arguments.output}")
