"""Collecting statistics against plain sampling, and whether memory grows with the number of prompts."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

import torch

from saeuron.prompts import read_prompts
from tools.evaluation.plan import PROMPTS, VALIDATION
from tools.evaluation.studio import HOOKPOINT, load_miniature, load_sae
from tools.miniature.training import import_host
from tools.pack import pack

from .timing import interleaved

MANY = (10, 1000)


class Collecting:
    def __init__(self, prompts: int, steps: int = 4, pixels: int = 192) -> None:
        texts = read_prompts(PROMPTS / VALIDATION / "cats.txt")
        self._shots = pack("saeuron.evaluation.painting").shots_of(
            [f"{text} {n}" for n, text in enumerate((texts * prompts)[:prompts])], 1, 0
        )
        self._model, self._clip, _ = load_miniature("float32")
        self._sae = load_sae(HOOKPOINT)
        self._settings = pack("nodes.host.sampling").SamplingSettings(
            "euler", "sgm_uniform", steps, 1.0, pixels, pixels
        )

    def plain(self) -> None:
        self._run(lambda model: model)

    def collect(self) -> None:
        site = pack("nodes.host.unet").find_site(self._model, self._sae.identity)
        recording = pack("nodes.host.recording")

        def recorded(model: Any) -> Any:
            identity = self._sae.identity
            statistics = pack("saeuron.statistics").ActivationStatistics(
                identity, self._sampler().sigmas[:-1].tolist(), {}
            )
            return recording.with_recorder(model, site, self._sae, statistics.add)

        self._run(recorded)

    def _run(self, prepare: Any) -> None:
        for _ in self._sampler().run(prepare(self._model), self._shots):
            pass

    def _sampler(self) -> Any:
        return pack("nodes.host.batches").BatchSampler(self._model, self._clip, self._settings, len(self._shots))


def measure(prompts: int = 16, repeats: int = 7) -> dict[str, Any]:
    collecting = Collecting(prompts)
    seconds = interleaved({"plain": collecting.plain, "collecting": collecting.collect}, repeats)
    rates = {name: round(prompts / value, 2) for name, value in seconds.items()}
    peaks = {}
    for count in MANY:
        call = [sys.executable, "-m", "tools.bench.collecting", str(count)]
        peaks[str(count)] = float(subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()[-1])
    return {"pictures_per_second": rates, "peak_mib": peaks}


def _main(prompts: str) -> None:
    import_host()
    with torch.inference_mode():
        Collecting(int(prompts), steps=1, pixels=64).collect()
    print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1))


if __name__ == "__main__":
    _main(*sys.argv[1:])
