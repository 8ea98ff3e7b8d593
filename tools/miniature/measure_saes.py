"""Measure the miniature's SAEs on its held-out prompts, as Check SAE does, and write the figures into their files.

The weights stay as they are, but a file with other figures has another checksum, by which feature sets name their SAE:
make them anew afterwards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from saeuron.files import format_safetensors, read_safetensors, write_atomically
from saeuron.miniature.architecture import BASE_MODEL
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from saeuron.reference.miniature import load_miniature
from saeuron.reference.pipeline import ReferencePipeline
from saeuron.reference.sampling import ReferenceSettings
from saeuron.sae.figures import FIELD, SAEFigures
from saeuron.sae.files import load_sae
from saeuron.shots import shots_of

SAES = Path("saeuron/miniature/saes")
SEED = 20_000
"""Of the first picture."""


def measure(file: Path, prompts: list[str], settings: ReferenceSettings) -> SAEFigures:
    pipeline = ReferencePipeline(load_miniature(), load_sae(file), settings)
    fit = pipeline.fit(shots_of(prompts, 1, SEED))
    active = sum(step.features for step in fit.steps) / len(fit.steps)  # every step has as many tokens
    return SAEFigures(fit.unexplained, active, fit.dead, BASE_MODEL)


def record(file: Path, figures: SAEFigures) -> None:
    tensors, metadata = read_safetensors(file)
    write_atomically(file, format_safetensors(tensors, {**metadata, FIELD: figures.as_text()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saes", type=Path, default=SAES)
    parser.add_argument("--prompts", type=int, default=4, help="of each held-out list")
    parser.add_argument("--steps", type=int, default=8)
    a = parser.parse_args()
    lists = sorted((PROMPTS_FOLDER / "heldout").glob("*.txt"))
    prompts = [prompt for file in lists for prompt in read_prompts(file)[: a.prompts]]
    for file in sorted(a.saes.glob("*.safetensors")):
        figures = measure(file, prompts, ReferenceSettings(steps=a.steps))
        record(file, figures)
        print(f"{file.stem}, {len(prompts)} pictures: {figures.describe()}", flush=True)


if __name__ == "__main__":
    main()
