"""A small training in a process of its own: ``python -m support.training_process FOLDER`` in `ENVIRONMENT`.

It prints the step it is at after every tenth, and at the end the losses of every step as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from saeuron.training.processes import ALONE, accelerated
from saeuron.training.run import Job, Progress, RunSettings, TrainingRun
from saeuron.training.settings import TrainingSettings

from .planted import planted_activations

MID, UP = "mid_block.attentions.0", "up_blocks.0.attentions.1"
SIZES = TrainingSettings(n=48, k=2, steps=120, batch=96, rate=3e-3, dead_after=3000)
RUN = RunSettings(pictures=20, held_out=16, evaluate_every=40, save_every=30)
JOBS = (Job(MID, SIZES), Job(UP, TrainingSettings(n=32, k=3, steps=90, batch=96, activation="batchtopk")))

_TESTS = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS.parent), str(_TESTS)])}


def _watch(progress: Progress) -> None:
    if progress.job is JOBS[0] and progress.done % 10 == 0:
        print(progress.done, flush=True)


if __name__ == "__main__":
    processes = accelerated() if os.environ.get("WORLD_SIZE", "1") != "1" else ALONE
    trained = TrainingRun(planted_activations(), JOBS, RUN, Path(sys.argv[1]), processes=processes).run(_watch)
    if not processes.rank:
        print(json.dumps({name: one.losses for name, one in trained.items()}), flush=True)
