"""Commands that draw with the reference path: statistics of prompts, pictures before and after."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..figures.tables import replaced_table
from ..files import write_png
from ..prompts import read_prompts
from ..reference.replacing import Decision, ReferenceReplacement
from ..shots import Shot, shots_of
from .options import (
    Result,
    add_command,
    add_intervention,
    add_model,
    add_replacement,
    intervention_of,
    pipeline_of,
    replacement_of,
)


def add_commands(commands: Any) -> None:
    collect = add_command(commands, "collect", _collect, "Record what an SAE's features do on prompts.")
    collect.add_argument("prompts", type=Path, help="a text file, one prompt a line")
    collect.add_argument("--output", type=Path, required=True, help="the statistics, .safetensors")
    collect.add_argument("--concept", default="", help="its name; the file's if left out")
    add_model(collect)

    check = add_command(commands, "check", _check, "Say whether an SAE fits a model, from a few pictures.")
    check.add_argument("prompts", type=Path, help="a text file, one prompt a line, a picture each")
    add_model(check)

    generate = add_command(commands, "generate", _generate, "Draw prompts without and with an edit.")
    generate.add_argument("prompts", type=Path, help="a text file, one prompt a line")
    generate.add_argument("--output", type=Path, required=True, help="a folder; before/ and after/ are made in it")
    edit = generate.add_mutually_exclusive_group(required=True)
    edit.add_argument("--multiplier", type=float, help="turn the features down: gamma; below 0 removes")
    edit.add_argument("--replace", metavar="TEXT", help="draw another thing where they fire, like 'cat -> dog'")
    generate.add_argument("--seeds", type=int, default=1, help="pictures for each prompt")
    add_intervention(generate)
    add_replacement(generate)
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


def _check(arguments: Namespace) -> Result:
    shots = shots_of(read_prompts(arguments.prompts), 1, arguments.seed)
    pipeline = pipeline_of(arguments, len(shots))
    fit = pipeline.fit(shots)
    loaded = pipeline.loaded
    identity, figures = loaded.identity, loaded.figures
    own = None if figures is None else asdict(figures)
    document = {"sae": identity.as_dict(), **asdict(fit), "verdict": fit.verdict(), "on_its_own_model": own}
    return Result(document, f"{identity.describe()}\n{fit.table(figures)}")


def _generate(arguments: Namespace) -> Result:
    replacing = arguments.replace is not None
    edit = replacement_of(arguments) if replacing else intervention_of(arguments, arguments.multiplier)
    shots = shots_of(read_prompts(arguments.prompts), arguments.seeds, arguments.seed)
    pipeline = pipeline_of(arguments, 2 * len(shots))
    decisions: dict[int, Decision] = {}

    def watch(_replacement: ReferenceReplacement, place: int, decision: Decision) -> None:
        decisions[place] = decision

    rows = _write(arguments.output / "before", shots, pipeline.draw(shots))
    after = _write(arguments.output / "after", shots, pipeline.draw(shots, [edit], watch))
    text = f"{len(shots)} pictures each in before and after in {arguments.output}"
    if replacing:
        for place, row in enumerate(after):
            row |= _where(decisions.get(place))
    if decisions:
        text += "\n" + replaced_table([(place, 0, d.share, d.mask is not None) for place, d in decisions.items()])
    return Result({"pictures": rows + after}, text)


def _where(decision: Decision | None) -> dict[str, Any]:
    """What was found in a picture and where it was replaced; None where that was not looked for, at strength 0."""
    if decision is None:
        return {"found": None, "mask": None}
    return {"found": decision.share, "mask": None if decision.mask is None else decision.mask.tolist()}


def _write(folder: Path, shots: Sequence[Shot], pictures: np.ndarray) -> list[dict[str, Any]]:
    """A line for each picture of what it is."""
    rows = []
    for number, (shot, picture) in enumerate(zip(shots, pictures, strict=True)):
        path = folder / f"{number:04d}.png"
        write_png(path, picture)
        rows.append({"picture": str(path), "prompt": shot.prompt, "seed": shot.seed})
    return rows
