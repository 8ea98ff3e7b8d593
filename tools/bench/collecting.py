"""Collecting statistics against plain sampling, and whether memory grows with the number of prompts."""

from __future__ import annotations

import sys
from typing import Any

import torch

from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from tools.evaluation.plan import VALIDATION
from tools.evaluation.studio import load_miniature
from tools.miniature.build_feature_sets import HOOKPOINT, load_sae
from tools.miniature.training import import_host
from tools.pack import pack

from .memory import peak_mib, printed_by
from .timing import interleaved

MANY = (10, 1000)


class Collecting:
    def __init__(self, prompts: int, steps: int = 4, pixels: int = 192) -> None:
        texts = read_prompts(PROMPTS_FOLDER / VALIDATION / "cats.txt")
        self._shots = pack("saeuron.shots").shots_of(
            [f"{text} {n}" for n, text in enumerate((texts * prompts)[:prompts])], 1, 0
        )
        self._model, self._clip, _ = load_miniature("float32")
        self._sae = load_sae(HOOKPOINT)
        self._settings = pack("nodes.host.inputs").SamplingSettings("euler", "sgm_uniform", steps, 1.0, pixels, pixels)

    def plain(self) -> None:
        self._run(self._sampler(), self._model)

    def collect(self) -> None:
        pack("nodes.host.collecting").collect(self._model, self._clip, self._sae, self._settings, self._shots)

    def _run(self, sampler: Any, model: Any) -> None:
        for _ in sampler.run(model, self._shots):
            pass

    def _sampler(self) -> Any:
        return pack("nodes.host.drawing").BatchSampler(self._model, self._clip, self._settings, len(self._shots))


def measure(prompts: int = 16, repeats: int = 7) -> dict[str, Any]:
    collecting = Collecting(prompts)
    seconds = interleaved({"plain": collecting.plain, "collecting": collecting.collect}, repeats)
    rates = {name: round(prompts / value, 2) for name, value in seconds.items()}
    peaks = {str(count): printed_by("tools.bench.collecting", str(count)) for count in MANY}
    return {"pictures_per_second": rates, "peak_mib": peaks}


def _main(prompts: str) -> None:
    import_host()
    with torch.inference_mode():
        Collecting(int(prompts), steps=1, pixels=64).collect()
    print(peak_mib())


if __name__ == "__main__":
    _main(*sys.argv[1:])
