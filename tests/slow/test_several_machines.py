"""Several workers: the same results as one process, also when one of them is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saeuron.features.statistics import ActivationStatistics
from support.training_process import ENVIRONMENT

ONE_THREAD = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
PROMPTS = "\n".join(f"a {size} {thing}" for size in ("small", "large") for thing in ("cat", "dog", "tower", "tree") * 6)


def saeuron(*words: object) -> list[str]:
    return [sys.executable, "-m", "saeuron", *map(str, words)]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def tasks_of(root: int) -> list[int]:
    """The processes below `root` in which Ray runs a shard."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        try:
            parents[int(entry.name)] = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if entry.joinpath("cmdline").read_text().startswith("ray::_collect"):
                found.append(int(entry.name))
        except (ValueError, OSError):
            continue

    def below(pid: int) -> bool:
        return pid == root or (pid in parents and below(parents[pid]))

    return [pid for pid in found if below(pid)]


def test_the_statistics_of_two_workers_one_killed_are_those_of_one_process(tmp_path):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed: pip install ray")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(PROMPTS)
    collect = ("collect", prompts, "--steps", 2, "--batch", 2, "--concept", "things", "--output")
    subprocess.run(saeuron(*collect, tmp_path / "one.safetensors"), check=True, env=ONE_THREAD)
    on_cluster = saeuron(*collect, tmp_path / "two.safetensors", "--ray-address", "local")
    # Two workers at most, whatever the machine has.
    environment = {**ONE_THREAD, "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 2})}
    with subprocess.Popen(on_cluster, env=environment) as running:
        while not (tasks := tasks_of(running.pid)) and running.poll() is None:
            time.sleep(0.05)
        assert tasks, "the command ended before a shard was begun"
        os.kill(tasks[0], signal.SIGKILL)
    assert running.returncode == 0
    one, two = (tmp_path / f"{name}.safetensors" for name in ("one", "two"))
    assert ActivationStatistics.load(two).prompts == 48
    assert one.read_bytes() == two.read_bytes()


def test_pictures_and_decisions_of_a_cluster_are_those_of_one_process(tmp_path):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed: pip install ray")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\na dog\na tower\na small cat\na tree\na cat in gray style")
    features = Path(__file__).parents[2] / "feature_sets" / "miniature" / "cats.json"
    generate = ("generate", prompts, "--features", features, "--replace", "cat -> dog", "--steps", 2, "--batch", 1)
    found = []
    for name, more in (("one", ()), ("two", ("--ray-address", "local"))):
        words = saeuron(*generate, "--output", tmp_path / name, "--json", *more)
        run = subprocess.run(words, check=True, env=ONE_THREAD, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(run.stdout.replace(str(tmp_path / name), "")))
    assert found[0] == found[1] and any(picture.get("found") for picture in found[0]["pictures"])
    pictures = sorted((tmp_path / "one").rglob("*.png"))
    assert len(pictures) == 12
    for picture in pictures:
        assert picture.read_bytes() == (tmp_path / "two" / picture.relative_to(tmp_path / "one")).read_bytes()


def test_activations_of_a_cluster_are_those_of_one_process(tmp_path):
    """Two files, of 64 pictures and of 2, which no number of whole batches is."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed: pip install ray")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("cat | a cat\ndog | a dog\ntower | a tower")
    record = ("record", prompts, "--labelled", "--pictures", 66, "--steps", 1, "--batch", 3, "--hookpoints", "mid")
    size = ("--width", 64, "--height", 64)
    for name, more in (("one", ()), ("two", ("--ray-address", "local"))):
        subprocess.run(saeuron(*record, *size, "--output", tmp_path / name, *more), check=True, env=ONE_THREAD)
    files = sorted((tmp_path / "one").iterdir())
    assert len(files) == 3
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_two_processes_train_as_one_with_the_same_batch(tmp_path):
    pytest.importorskip("accelerate", reason="the extra `reference` is not installed: pip install accelerate")
    module = ("-m", "support.training_process")
    one = subprocess.run(
        [sys.executable, *module, tmp_path / "one"], check=True, env=ONE_THREAD, stdout=subprocess.PIPE, text=True
    )
    # What `accelerate launch --multi_cpu` runs, without its questions.
    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    environment = {**ONE_THREAD, "ACCELERATE_USE_CPU": "true"}
    two = subprocess.run(
        [*launch, *module, tmp_path / "two"], check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    (losses, others) = (json.loads(run.stdout.splitlines()[-1]) for run in (one, two))
    assert losses.keys() == others.keys() and len(losses) == 2
    for name, own in losses.items():
        assert others[name] == pytest.approx(own, rel=1e-3)
        assert others[name] != own  # it was another sum
