"""A process killed at random moments while it saves: the file is the old one or the new one, never a broken one."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from saeuron.errors import SaeuronError
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from saeuron.features.statistics import ActivationStatistics
from saeuron.sae.model import SAEIdentity
from tools.bench.soak.outcome import Outcome
from tools.host.unpack import REPOSITORY

LONGEST_LIFE = 0.1  # seconds of saving before the kill; some dozens of files are written in it
READY = b"saving\n"

IDENTITY = SAEIdentity("ab" * 32, "sdxl-turbo", "up_blocks.0.attentions.1", "update", d=64, n=4096, k=8)
SIGMAS = (14.6, 3.0, 0.5)


def feature_set(version: int) -> FeatureSet:
    """One of a row that differ in every feature."""
    features = tuple(Feature(index, 1 / (version + 1)) for index in range(2000))
    return FeatureSet(str(version), IDENTITY, {}, {}, (FeatureStep(None, features),))


def statistics(version: int) -> ActivationStatistics:
    """One of a row that differ in every number."""
    made = ActivationStatistics(IDENTITY, SIGMAS, {}, str(version))
    for tensor in (made.total, made.tokens, made.fired_tokens, made.fired_images, made.images):
        tensor.fill_(version + 1)
    return made


def check_feature_set(path: Path) -> None:
    """Errors: `SaeuronError` if `path` is broken or mixed of two."""
    loaded = FeatureSet.load(path)
    if loaded != feature_set(int(loaded.concept)):
        raise SaeuronError("a mixture of two feature sets")


def check_statistics(path: Path) -> None:
    """Errors: `SaeuronError` if `path` is broken or mixed of two."""
    loaded = ActivationStatistics.load(path)
    expected = statistics(int(loaded.concept))
    if not torch.equal(loaded.total, expected.total) or not torch.equal(loaded.images, expected.images):
        raise SaeuronError("a mixture of two statistics")


MAKERS: dict[str, Callable[[int], FeatureSet | ActivationStatistics]] = {
    "set.json": feature_set,
    "statistics.safetensors": statistics,
}
CHECKS: dict[str, Callable[[Path], None]] = {"set.json": check_feature_set, "statistics.safetensors": check_statistics}


def kill_while_saving(kills: int, seed: int = 0) -> Outcome:
    """`kills` processes, half of them saving feature sets, half of them statistics."""
    random_, outcome = random.Random(seed), Outcome()
    with tempfile.TemporaryDirectory(prefix="saeuron-kills-") as folder:
        for name, make in MAKERS.items():
            make(0).save(Path(folder) / name)
        for number in range(kills):
            name = list(MAKERS)[number % len(MAKERS)]
            path = Path(folder) / name
            try:
                _kill_one(path, random_.uniform(0, LONGEST_LIFE))
                CHECKS[name](path)
                outcome.count()
            except SaeuronError as error:
                outcome.count(f"kill {number}: {error}")
                MAKERS[name](0).save(path)
    return outcome


def _kill_one(path: Path, life: float) -> None:
    command = [sys.executable, "-m", "tools.bench.soak.kills", str(path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        if output.readline() != READY:
            process.wait()
            raise SaeuronError("the process that was to be killed did not begin to save")
        time.sleep(life)  # not a wait for anything: the moment of the kill is the experiment
        process.kill()
        process.wait()


def save_for_ever(path: Path) -> None:
    """Save one version after the other until killed."""
    # Made first: what is killed should be in the middle of saving, not of making.
    versions = [MAKERS[path.name](version) for version in range(4)]
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    while True:
        for version in versions:
            version.save(path)


if __name__ == "__main__":
    save_for_ever(Path(sys.argv[1]))
