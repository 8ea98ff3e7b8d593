"""The front end tells which files a template needs, the SAE as well as the checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tools.host.browser import FOLDER as OUTPUT
from tools.host.browser import NoBrowser, drive
from tools.host.server import ComfyServer
from tools.sae_files import write_unbox
from tools.workflows.examples.turbo import TURBO, TURBO_SAE
from tools.workflows.prompts import FOLDER


def told_of(server: ComfyServer, *missing: str) -> str:
    """What is said when unlearn_sdxl_turbo is opened, once all of `missing` are named."""
    run: dict[str, Any] = json.loads((FOLDER / "unlearn_sdxl_turbo.json").read_text(encoding="utf-8"))
    try:
        report = drive(
            Path(__file__).with_name("missing.mjs"), server.address, OUTPUT, {"run": run, "missing": missing}
        )
    except NoBrowser as reason:
        pytest.skip(str(reason))
    return str(report["told"])


def test_a_missing_sae_is_told_as_a_missing_checkpoint_is(server: ComfyServer) -> None:
    told = told_of(server, TURBO, TURBO_SAE)
    assert told.count(TURBO) == told.count(TURBO_SAE) == 1


def test_an_sae_whose_weights_are_there_is_not_told(server: ComfyServer) -> None:
    """They are all that the list offers to download."""
    folder = (server.base / "models" / "saes" / TURBO_SAE).parent
    write_unbox(folder, 16, 32, 4)
    (folder / "config.json").unlink()
    try:
        told = told_of(server, TURBO)
    finally:
        shutil.rmtree(folder.parent)
    assert TURBO in told and "state_dict" not in told
