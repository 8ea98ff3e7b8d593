"""Training SAEs: ours against sparsify and dictionary_learning, on the same stored tokens, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tools.evaluation.report import table
from tools.host.unpack import REPOSITORY

from .training_loop import HELD_OUT, NOT_COUNTED, RATE

PEERS = ("eai-sparsify==1.3.3", "dictionary-learning==0.1.0")
TRAINERS = ("ours", "sparsify", "dictionary_learning")


class Size(NamedTuple):
    d: int
    n: int
    k: int
    steps: int
    batch: int = 2048


SIZES = (Size(192, 1536, 10, 200), Size(1280, 5120, 10, 40), Size(1280, 20480, 32, 12))
"""A block of the miniature, and SDXL's with the features of sdxl-unbox and of SAeUron."""


def measure() -> list[dict[str, Any]]:
    """Tokens a second, final unexplained variance and peak memory of each."""
    peers = peers_python()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            file = Path(folder) / "tokens.safetensors"
            store_tokens(file, size)
            words = [str(file), *map(str, (size.d, size.n, size.k, size.steps, size.batch))]
            found = {}
            for name in TRAINERS:
                ours = name == "ours"
                command = [sys.executable, "-m", "tools.bench.training_ours"] if ours else [
                    str(peers), str(Path(__file__).with_name("training_peers.py")), name
                ]  # fmt: skip
                environment = {
                    **os.environ,
                    "SPARSIFY_DISABLE_TRITON": "1",
                    "OMP_NUM_THREADS": str(torch.get_num_threads()),
                }
                run = subprocess.run(
                    [*command, *words], check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY
                )
                found[name] = json.loads(run.stdout.splitlines()[-1])
                print(size, name, found[name], flush=True)
            rows.append({**size._asdict(), "trainers": found})
    return rows


def store_tokens(file: Path, size: Size) -> None:
    """float16 [tokens, d]: sums of 24 of 4 d directions, and noise with a twentieth of their variance."""
    from safetensors.torch import save_file

    # Not a seed of a trainer's: its first features would be the directions themselves.
    generator = torch.Generator().manual_seed(982_451_653)
    count, active = size.batch * min(size.steps, 24) + HELD_OUT, 24
    directions = torch.nn.functional.normalize(torch.randn(4 * size.d, size.d, generator=generator), dim=1)
    which = torch.randint(len(directions), (count, active), generator=generator)
    strengths = torch.rand(count, active, generator=generator) + 0.5
    tokens = torch.nn.functional.embedding_bag(which, directions, per_sample_weights=strengths, mode="sum")
    tokens *= (size.d / active) ** 0.5  # a coordinate has about unit variance, as dictionary_learning wants it
    tokens += 0.05**0.5 * torch.randn(tokens.shape, generator=generator)
    save_file({"tokens": tokens.half()}, file)


def peers_python() -> Path:
    """The Python of an environment with the peers: BENCH_PEERS names one; else it is made in output/."""
    named = os.environ.get("BENCH_PEERS")
    folder = Path(named) if named else REPOSITORY / "output" / "bench-peers"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", f"torch=={torch.__version__.split('+')[0]}", *PEERS], check=True
        )
    return python


def training_section(found: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """Of docs/performance.md."""
    rows = []
    for row in found:
        trainers = row["trainers"]
        fastest = max(one["tokens_per_second"] for name, one in trainers.items() if name != "ours")
        for name, one in trainers.items():
            ratio = one["tokens_per_second"] / fastest
            rows.append(
                [
                    f"{row['d']} / {row['n']} / {row['k']}", str(row["steps"]), name, f"{one['tokens_per_second']:.0f}",
                    f"{ratio:.2f}", f"{one['unexplained']:.2%}", str(one["peak_mib"]),
                ]
            )  # fmt: skip
    head = ["d / n / k", "Steps", "Trainer", "Tokens a second", "To the faster peer", "Unexplained", "Peak, MiB"]
    return (
        f"## Training SAEs\n\nAgainst {' and '.join(PEERS)}, on the same stored tokens (sums of 24 of 4 d directions, "
        f"and noise), batches of {found[0]['batch']} tokens, each in its own process, one after another in one run. "
        f"Threads: {machine['threads']}. "
        f"All with Adam at the rate {RATE:g}, warmed up over a tenth of the steps; ours falls to 0 over the last "
        f"fifth, the peers keep it. The first {NOT_COUNTED} steps are not counted. Unexplained variance is that of "
        f"{HELD_OUT} tokens that were held out. Ours chooses features in bfloat16 where the processor multiplies in "
        "it. Goal: 1.5 times the faster peer, and no more left unexplained.\n\n" + table(head, rows)
    )
