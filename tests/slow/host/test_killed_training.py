"""Train SAE in a process that is killed, and again in another one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from support.training_process import ENVIRONMENT


def test_train_sae_goes_on_bit_for_bit_after_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "support.training_node", tmp_path]
    options = {"env": ENVIRONMENT, "text": True, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, "whole"], check=True, stdout=subprocess.PIPE, **options)
    with subprocess.Popen([*command, "killed"], stdout=subprocess.PIPE, **options) as killed:
        assert any(line == "20\n" for line in killed.stdout)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "saes" / "killed.safetensors").exists()
    again = subprocess.run([*command, "killed"], check=True, stdout=subprocess.PIPE, **options)
    assert int(again.stdout.splitlines()[0]) > 16  # checkpoints are written every four steps
    assert "Went on after step" in again.stdout
    files = [tmp_path / "saes" / f"{name}.safetensors" for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not list((tmp_path / "user").rglob("*.safetensors"))
