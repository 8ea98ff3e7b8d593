"""Draws with the pack's own nodes and the host's sampling, and has every picture judged once.

What the judges saw is kept in a file whose name is a digest of everything it depends on, so a run goes on where it was
stopped, and never with pictures of other weights or settings.
"""

from __future__ import annotations

import hashlib
import io
import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saeuron.evaluation.benchmark import DOMAINS, Sight
from saeuron.files import sha256_of, write_atomically
from saeuron.shots import Shot
from tools.host.unpack import REPOSITORY
from tools.miniature.build_feature_sets import HOOKPOINT, load_feature_set, load_sae
from tools.pack import pack

from .plan import Scale, real_shots

MINIATURE = REPOSITORY / "saeuron" / "miniature"
STEPS, SIZE = 8, 192


@dataclass(frozen=True)
class Treatment:
    """What is done while drawing: any number of feature sets in one mode, or a negative prompt."""

    feature_sets: tuple[Any, ...] = ()
    multipliers: tuple[float, ...] = ()
    mode: str = "exact"
    cfg: float = 1.0
    negative: str = ""

    def interventions(self) -> list[Any]:
        make = pack("saeuron.edits.intervention").Intervention
        return [make(s, m, self.mode) for s, m in zip(self.feature_sets, self.multipliers, strict=True)]

    def key(self) -> dict[str, Any]:
        sets = [hashlib.sha256(s.to_json().encode()).hexdigest() for s in self.feature_sets]
        return {"sets": sets, "multipliers": self.multipliers, "mode": self.mode, "cfg": self.cfg, "not": self.negative}


OFF = Treatment()


@dataclass
class Studio:
    work: Path
    """Where what was seen is kept."""

    scale: Scale

    dtype: str = "float32"
    """Of the UNet and the autoencoder; ``bfloat16`` is quicker where the processor has it."""

    drawn: int = 0
    """How many pictures this process has drawn."""

    _parts: dict[str, Any] = field(default_factory=dict)
    _digest: str = ""

    def feature_set(self, name: str, hookpoint: str) -> Any:
        """The shipped one of the concept `name`."""
        return load_feature_set(name, hookpoint)

    def look(self, shots: Sequence[Shot], treatment: Treatment) -> Sight:
        """What the judges see on `shots` under `treatment`."""
        file = self._file("npz", shots=shots, **treatment.key())
        if not file.exists():
            sight = self._judge(self.draw(shots, treatment))
            arrays = {"features": sight.features, "rejected": sight.rejected, "embeddings": sight.embeddings}
            kept = io.BytesIO()
            np.savez(kept, allow_pickle=False, **arrays, **sight.labels)
            write_atomically(file, kept.getvalue())
        with np.load(file, allow_pickle=False) as kept:
            labels = {domain: kept[domain] for domain in DOMAINS}
            return Sight(labels, kept["features"], kept["rejected"], kept["embeddings"])

    def caught(self) -> dict[str, float]:
        """Share of each corruption that the realism judge rejects: what its figures can see."""
        file = self._file("json", judge="realism")
        if not file.exists():
            write_atomically(file, json.dumps(self._realism_judge().caught).encode())
        caught: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
        return caught

    def _file(self, suffix: str, **key: Any) -> Path:
        """Where what depends on `key`, the weights and the settings is kept."""
        if not self._digest:
            self._digest = _digest_of_weights()
        self.work.mkdir(parents=True, exist_ok=True)
        key = {"weights": self._digest, "dtype": self.dtype, "steps": STEPS, "real": self.scale.real_seeds, **key}
        return self.work / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.{suffix}"

    def draw(self, shots: Sequence[Shot], treatment: Treatment) -> np.ndarray:
        """Pictures uint8 [len(shots), H, W, 3]."""
        settings = pack("nodes.host.inputs").SamplingSettings("euler", "sgm_uniform", STEPS, treatment.cfg, SIZE, SIZE)
        patching, find_site = pack("nodes.host.model"), pack("nodes.host.unet").find_site
        model, clip, vae = self.part("miniature")
        for intervention in treatment.interventions():
            sae = self._sae(intervention.feature_set.sae.hookpoint)
            model = patching.add_patch(model, patching.Patch(find_site(model, sae.identity), sae, intervention))
        pipeline = pack("nodes.host.drawing").HostPipeline(
            model, clip, vae, self._sae(HOOKPOINT), settings, len(shots), treatment.negative
        )
        self.drawn += len(shots)
        return np.asarray(pipeline.draw(shots))

    def _sae(self, hookpoint: str) -> Any:
        if hookpoint not in self._parts:
            self._parts[hookpoint] = load_sae(hookpoint)
        return self._parts[hookpoint]

    def _judge(self, pictures: np.ndarray) -> Sight:
        judges = {domain: self.part(domain) for domain in DOMAINS}
        return Sight(
            {domain: np.array(judge.classify(pictures)) for domain, judge in judges.items()},
            judges["objects"].features(pictures),
            self._realism_judge().rejects(pictures),
            self.part("embed")(pictures),
        )

    def _realism_judge(self) -> Any:
        """Trained on un-ablated pictures that are used for nothing else, with what both judges see."""
        if "realism" not in self._parts:
            judges = [self.part(domain) for domain in DOMAINS]
            self._parts["realism"] = pack("saeuron.evaluation.artifacts").RealismJudge(
                lambda pictures: np.concatenate([judge.features(pictures) for judge in judges], axis=1),
                self.draw(real_shots(self.scale), OFF),
            )
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
        }


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
