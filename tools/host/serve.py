"""Start ComfyUI with this pack for a person at a browser: `python -m tools.host.serve`, or `make serve`.

Models, outputs and saved workflows are kept in .host/serve, so that a ComfyUI of the user's own stays as it is.
What comes after `--` goes to ComfyUI's main.py, for instance `-- --extra-model-paths-config my.yaml`.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.host.client import ComfyClient
from tools.host.server import host_command, host_environment, make_base
from tools.host.unpack import REPOSITORY, HostError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.host.serve", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--base-directory", type=Path, default=REPOSITORY / ".host" / "serve")
    parser.add_argument("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    parser.add_argument("comfyui", nargs="*", metavar="-- ARGS", help="further arguments for ComfyUI")
    options = parser.parse_args(argv)
    base = options.base_directory.resolve()
    client = ComfyClient(options.port)
    if client.answers():
        print(f"Something answers at {client.address} already; choose another --port.", file=sys.stderr)
        return 1
    try:
        command = host_command(base, options.port, cpu=options.cpu or not has_accelerator())
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    make_base(base)
    # As an exception, so that ComfyUI does not outlive this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    process = subprocess.Popen([*command, *options.comfyui], env=host_environment(), cwd=base)
    try:
        while process.poll() is None and not client.answers():
            time.sleep(0.2)
        if process.poll() is None:
            print(f"\nComfyUI with SAeUron is at {client.address} - Ctrl+C stops it.\n", flush=True)
        return process.wait()
    except KeyboardInterrupt:
        # A terminal sends it to ComfyUI as well, which then ends by itself.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        return 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def has_accelerator() -> bool:
    """Whether torch has something faster than the CPU; without it, ComfyUI starts with --cpu only."""
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()


if __name__ == "__main__":
    sys.exit(main())
