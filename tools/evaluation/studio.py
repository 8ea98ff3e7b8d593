"""Draws with the pack's own nodes and the host's sampling, and has every picture judged once.

What the judges saw is kept in a file whose name is a digest of everything it depends on, so a run goes on where it was
stopped, and never with pictures of other weights or settings.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from saeuron.evaluation.benchmark import DOMAINS, Sight
from saeuron.files import sha256_of, write_atomically
from saeuron.shots import Shot
from tools.host.unpack import REPOSITORY
from tools.miniature.build_feature_sets import HOOKPOINT, load_feature_set
from tools.pack import pack

from .plan import Scale
from .realism import error_of, realism_judge
from .treatment import OFF, Treatment, sae_at

MINIATURE = REPOSITORY / "saeuron" / "miniature"
STEPS, SIZE = 8, 192
EVERY = 500  # pictures between two timings of the model as it is
TIMED_SEED = 9_000_000


@dataclass
class Studio:
    work: Path
    """Where what was seen is kept."""

    scale: Scale

    dtype: str = "float32"
    """Of the UNet and the autoencoder; ``bfloat16`` is quicker where the processor has it."""

    clock: int = 16
    """Pictures of the model as it is that are timed, beside every `EVERY` that are drawn; 0: nothing is timed."""

    drawn: int = 0
    """How many pictures this process has drawn, without those."""

    _timed: tuple[int, float] | None = None
    """After how many drawn pictures the model as it is was timed, and seconds a picture."""

    _parts: dict[str, Any] = field(default_factory=dict)
    _digest: str = ""

    def feature_set(self, name: str, hookpoint: str) -> Any:
        """The shipped one of the concept `name`."""
        return load_feature_set(name, hookpoint)

    def look(self, shots: Sequence[Shot], treatment: Treatment) -> Sight:
        """What the judges see on `shots` under `treatment`."""
        asked = treatment.shots(shots)
        file = self._file("npz", shots=asked, **treatment.key())
        if not file.exists():
            plain = self._seconds_off()
            treatment.model(self.part("miniature"))  # what an edit makes once, such as steering vectors, is not timed
            began = time.perf_counter()
            pictures = self.draw(asked, treatment)
            sight = self._judge(pictures, (time.perf_counter() - began) / len(asked), plain)
            arrays = {name.name: getattr(sight, name.name) for name in fields(sight) if name.name != "labels"}
            kept = io.BytesIO()
            np.savez(kept, allow_pickle=False, **arrays, **sight.labels)
            write_atomically(file, kept.getvalue())
        with np.load(file, allow_pickle=False) as kept:
            labels = {domain: kept[domain] for domain in DOMAINS}
            rest = {name.name: kept[name.name] for name in fields(Sight) if name.name != "labels"}
            return Sight(labels, **rest)

    def _seconds_off(self) -> float:
        """Seconds a picture of the model as it is, measured by this process not long ago: the machine has other work.

        nan where nothing is timed.
        """
        if not self.clock:
            return float("nan")
        if self._timed is None or self.drawn - self._timed[0] >= EVERY:
            shots = [Shot("a picture", TIMED_SEED + number) for number in range(self.clock)]
            before = self.drawn
            if self._timed is None:
                self.draw(shots[:2], OFF)  # the first ones wait for what is loaded or made once
            began = time.perf_counter()
            self.draw(shots, OFF)
            self.drawn = before
            self._timed = self.drawn, (time.perf_counter() - began) / self.clock
        return self._timed[1]

    def realism_error(self) -> dict[str, Any]:
        """How often the realism judge is wrong: what its figures are worth. `RealismError`'s fields."""
        found: dict[str, Any] = self.kept({"judge": "realism"}, lambda: asdict(error_of(self._realism_judge(), self)))
        return found

    def kept(self, key: dict[str, Any], measure: Callable[[], Any]) -> Any:
        """The JSON value that `measure` gives, measured once for all that it depends on, of which `key` is a part."""
        file = self._file("json", **key)
        if not file.exists():
            write_atomically(file, json.dumps(measure()).encode())
        return json.loads(file.read_text(encoding="utf-8"))

    def _file(self, suffix: str, **key: Any) -> Path:
        """Where what depends on `key`, the weights and the settings is kept."""
        if not self._digest:
            self._digest = _digest_of_weights()
        self.work.mkdir(parents=True, exist_ok=True)
        judge = self.scale.real_prompts, self.scale.backgrounds
        key = {"weights": self._digest, "dtype": self.dtype, "steps": STEPS, "real": judge, **key}
        return self.work / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.{suffix}"

    def draw(self, shots: Sequence[Shot], treatment: Treatment) -> np.ndarray:
        """Pictures uint8 [len(shots), H, W, 3] of exactly these prompts."""
        _, clip, vae = self.part("miniature")
        pipeline = pack("nodes.host.drawing").HostPipeline(
            treatment.model(self.part("miniature")),
            clip,
            vae,
            sae_at(HOOKPOINT),
            _settings(treatment),
            len(shots),
            treatment.negative,
        )
        self.drawn += len(shots)
        return np.asarray(pipeline.draw(shots))

    def sampler(self, model: Any, treatment: Treatment, pictures: int) -> Any:
        """A `BatchSampler` of `pictures` in all, for who wants their latents; `model` is the treatment's."""
        clip = self.part("miniature")[1]
        return pack("nodes.host.drawing").BatchSampler(model, clip, _settings(treatment), pictures, treatment.negative)

    def _judge(self, pictures: np.ndarray, seconds: float, seconds_off: float) -> Sight:
        judges = {domain: self.part(domain) for domain in DOMAINS}
        return Sight(
            {domain: np.array(judge.classify(pictures)) for domain, judge in judges.items()},
            judges["objects"].features(pictures),
            self._realism_judge().rejects(pictures),
            self.part("embed")(pictures),
            np.array([hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures]),
            np.full(len(pictures), seconds),
            np.full(len(pictures), seconds_off),
        )

    def _realism_judge(self) -> Any:
        if "realism" not in self._parts:
            self._parts["realism"] = realism_judge(self)
        return self._parts["realism"]

    def part(self, name: str) -> Any:
        """Loaded when first asked for: a run that finds everything kept needs no model."""
        if name not in self._parts:
            self._parts[name] = self._loaders()[name]()
        return self._parts[name]

    def _loaders(self) -> dict[str, Callable[[], Any]]:
        return {
            "miniature": lambda: load_miniature(self.dtype),
            "embed": _load_embedder,
            "objects": lambda: _load_classifier("objects"),
            "styles": lambda: _load_classifier("styles"),
            "halves": lambda: _load_classifier("halves"),
        }


def _settings(treatment: Treatment) -> Any:
    return pack("nodes.host.inputs").SamplingSettings("euler", "sgm_uniform", STEPS, treatment.cfg, SIZE, SIZE)


def add_dtype(parser: ArgumentParser) -> None:
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of UNet and autoencoder")


def load_miniature(dtype: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP, VAE of the pack's node, computing in `dtype`."""
    import comfy.cli_args
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False  # one per batch says nothing here
    comfy.cli_args.args.bf16_unet = comfy.cli_args.args.bf16_vae = dtype == "bfloat16"
    model, clip, vae = pack("nodes.load").SaeuronLoadMiniature.execute().result
    if dtype == "bfloat16":
        model.model.manual_cast_dtype = None  # the host takes it that no CPU computes in bfloat16, and would cast
    return model, clip, vae


def _load_embedder() -> Any:
    clip_vision = pack("nodes.clip_similarity").SaeuronLoadMiniatureClip.execute().result[0]
    library = pack("nodes.host.pictures")
    return lambda pictures: library.embed(clip_vision, library.as_image(pictures))


def _load_classifier(domain: str) -> Any:
    return pack("saeuron.evaluation.classifier").Classifier(MINIATURE / "classifiers" / domain)


def _digest_of_weights() -> str:
    """Of the miniature and its judges; a treatment's feature sets name their SAEs."""
    digest = hashlib.sha256()
    for file in sorted(set(MINIATURE.rglob("*.safetensors")) - set(MINIATURE.glob("saes/*"))):
        digest.update(file.relative_to(MINIATURE).as_posix().encode())
        digest.update(sha256_of(file).encode())
    return digest.hexdigest()
