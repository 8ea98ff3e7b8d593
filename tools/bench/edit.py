"""The edit alone, on tensors of SDXL's sizes: against published ways of doing it, and how it grows."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saeuron.edits.intervention import FeatureEdit, edit_exact
from saeuron.sae.model import SparseAutoencoder

from . import dense
from .memory import peak_mib, printed_by
from .timing import interleaved

D = 1280
FEATURES = 20
RATE = 0.02
"""Share of tokens on which a concept's feature is above its threshold where the concept is in the picture."""


class Case(NamedTuple):
    sae: SparseAutoencoder
    edit: FeatureEdit
    x: Tensor
    output: Tensor


def make_case(tokens: int, n: int, k: int, features: int = FEATURES, rate: float = RATE, seed: int = 0) -> Case:
    """Random weights and tokens; thresholds such that each feature is above its own on `rate` of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    sae = SparseAutoencoder(D, n, k)
    sae.load_state_dict(
        {
            "encoder.weight": torch.randn(n, D, generator=generator) / D**0.5,
            "encoder.bias": torch.zeros(n),
            "decoder.weight": torch.randn(n, D, generator=generator) / D**0.5,
            "decoder_bias": torch.zeros(D),
        }
    )
    sae.requires_grad_(False)
    x, output = torch.randn(2, 1, tokens, D, generator=generator)
    chosen = torch.randperm(n, generator=generator)[:features].sort().values
    z = nn.functional.linear(x, *sae.encoder_rows(chosen)).reshape(tokens, features)
    edit = FeatureEdit(chosen, torch.full((features,), -8.0), z.quantile(1 - rate, dim=0))
    return Case(sae, edit, x, output)


def against_dense(repeats: int = 9) -> list[dict[str, Any]]:
    """Milliseconds and extra peak memory of ours, the dense way, and the bare encoder product with top-k."""
    rows = []
    for tokens in (256, 1024):
        for n, k in ((5120, 10), (20480, 32)):
            case = make_case(tokens, n, k)
            assert torch.allclose(edit_exact(*case), dense.edit_exact(*case), atol=1e-3)
            seconds = interleaved(
                {
                    "ours": partial(edit_exact, *case),
                    "dense": partial(dense.edit_exact, *case),
                    "encoder and top-k": partial(case.sae.encode, case.x),
                },
                repeats,
            )
            memory = {way: extra_memory(way, tokens, n, k) for way in ("ours", "dense")}
            rows.append({"tokens": tokens, "n": n, "k": k, "ms": _ms(seconds), "extra_mib": memory})
    return rows


def growth(repeats: int = 5) -> list[dict[str, Any]]:
    """Milliseconds of the edit against the number of tokens and against n."""
    sizes = [(tokens, 5120) for tokens in (256, 1024, 4096, 16384)] + [(1024, n) for n in (20480, 40960, 81920)]
    rows = []
    for tokens, n in sizes:
        case = make_case(tokens, n, 10)
        seconds = interleaved(
            {"ours": partial(edit_exact, *case), "encoder and top-k": partial(case.sae.encode, case.x)},
            repeats,
        )
        rows.append({"tokens": tokens, "n": n, "ms": _ms(seconds)})
    return rows


def _ms(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(1000 * value, 2) for name, value in seconds.items()}


def extra_memory(way: str, tokens: int, n: int, k: int) -> float:
    """MiB by which a process's peak grows in one call of `way`."""
    return printed_by("tools.bench.edit", way, str(tokens), str(n), str(k))


def _main(way: str, tokens: str, n: str, k: str) -> None:
    small, case = make_case(8, 64, 2), make_case(int(tokens), int(n), int(k))
    run = {"ours": edit_exact, "dense": dense.edit_exact}[way]
    # What a first call brings with it is not the edit's: code, and what the library multiplies matrices of a size in.
    run(*small)
    nn.functional.linear(case.x, case.sae.encoder.weight)
    # Making the case needed more than it keeps: fill the difference, so that the peak rises by what the call takes.
    filler, step = [], 1 << 20
    before = peak_mib()
    while peak_mib() <= before:
        filler.append(torch.ones(step // 4))
    before = peak_mib()
    run(*case)
    print(peak_mib() - before)


if __name__ == "__main__":
    with torch.inference_mode():
        _main(*sys.argv[1:])
