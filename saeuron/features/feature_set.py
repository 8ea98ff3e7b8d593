"""Feature sets: the features of one concept in one SAE, as a small JSON file that people share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as brief  # what strangers wrote may be long
from typing import Any

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..files import check_format, read_text, write_atomically
from ..json_text import MAX_SIZE, format_json, parse_json
from ..sae.model import SAEIdentity
from ..schedule import check_schedule, is_finite_number, nearest_step
from .before_after import BeforeAfter
from .detector import DEFAULT, Detector

FORMAT = "saeuron-feature-set"
VERSION = "1.2"
"""1.1 added the detector, 1.2 the picture; files without them are read as before."""

WITHOUT_PICTURE = "1.1"
"""What a file without a picture says, which older packs read whole."""


@dataclass(frozen=True)
class Feature:
    """One feature. What is not known about it is None."""

    index: int
    """From 0 to n - 1."""

    score: float | None = None
    """How much more it belongs to the concept's prompts than to others, -1 to 1 (`selection.score`)."""

    mean_concept: float | None = None
    """mu_i(D_c), its mean activation on the concept's prompts, zeros included."""

    mean_all: float | None = None
    """mu_i(D), its mean activation on all prompts: the threshold above which it is edited."""

    rate_concept: float | None = None
    """On what share of the concept's images (or tokens) it fires, 0 to 1."""

    rate_all: float | None = None
    """The same for all prompts."""

    def __post_init__(self) -> None:
        if not isinstance(self.index, int) or isinstance(self.index, bool) or self.index < 0:
            raise SaeuronError(f"A feature's index must be a whole number from 0, found {brief(self.index)}.")
        for name in _STATISTICS:
            value = getattr(self, name)
            if value is not None and not is_finite_number(value):
                raise SaeuronError(f"Feature {self.index}: {name} must be a finite number, found {brief(value)}.")


_STATISTICS = tuple(f.name for f in fields(Feature) if f.name != "index")


@dataclass(frozen=True)
class FeatureStep:
    """The features for one denoising step, or for all of them together (``sigma`` None), best first."""

    sigma: float | None
    features: tuple[Feature, ...]


@dataclass(frozen=True)
class FeatureSet:
    """The features of `concept`. Errors on construction: `SaeuronError` for what can't be.

    ``sampling`` and ``selection`` say how it was computed; they are records and change nothing.
    """

    concept: str
    sae: SAEIdentity
    """Its ``sha256``, ``base_model``, ``hookpoint`` and ``kind`` may be empty: not recorded."""

    sampling: Mapping[str, Any]
    selection: Mapping[str, Any]
    steps: tuple[FeatureStep, ...]
    """One pooled step, or one for each sigma, descending."""

    note: str = ""
    detector: Detector | None = None
    """How the features tell whether the concept is there, and how well; None: not measured."""

    picture: BeforeAfter | None = None
    """What an edit with these features did; for people, and changes nothing."""

    extra: Mapping[str, Any] = field(default_factory=dict)
    """Top-level fields of a file that this version does not know; kept when it is saved."""

    def __post_init__(self) -> None:
        if not self.steps:
            raise SaeuronError(f"The feature set for {brief(self.concept)} has no steps.")
        sigmas = [step.sigma for step in self.steps]
        if sigmas != [None]:
            check_schedule(sigmas)
        for number, step in enumerate(self.steps):
            indices = [feature.index for feature in step.features]
            if indices and max(indices) >= self.sae.n:
                raise SaeuronError(f"Step {number} has feature {max(indices)}, but the SAE ends at {self.sae.n - 1}.")
            if len(set(indices)) != len(indices):
                raise SaeuronError(f"Step {number} lists a feature twice: {brief(sorted(indices))}.")
        if known := set(self.extra) & set(_TOP_LEVEL):
            raise SaeuronError(f"{', '.join(sorted(known))}: these are fields of their own, not extra ones.")

    @property
    def has_means(self) -> bool:
        """Whether mu_i(D_c) and mu_i(D) of every feature are known."""
        return all(
            feature.mean_concept is not None and feature.mean_all is not None
            for step in self.steps
            for feature in step.features
        )

    def at_sigma(self, sigma: float) -> FeatureStep:
        """The step nearest to noise level `sigma` by ratio; of a pooled set, its only one."""
        sigmas = [step.sigma for step in self.steps if step.sigma is not None]
        return self.steps[nearest_step(sigmas, sigma)] if sigmas else self.steps[0]

    @property
    def detector_or_default(self) -> Detector:
        return DEFAULT if self.detector is None else self.detector

    def marking(self, sigma: float, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """What marks a token at noise level `sigma`: features int64 [m] and their thresholds float32 [m].

        The thresholds are mu_i(D); 0, so that any activation counts, where it is not known.
        """
        features = self.at_sigma(sigma).features
        thresholds = torch.tensor([feature.mean_all or 0.0 for feature in features], dtype=torch.float32, device=device)
        return torch.tensor([feature.index for feature in features], dtype=torch.int64, device=device), thresholds

    def check_sae(self, identity: SAEIdentity) -> None:
        """Errors: `SaeuronError` naming both SAEs if the features are not those of `identity`.

        What the feature set does not record is not compared.
        """
        recorded, found = vars(self.sae), vars(identity)
        if different := [name for name, value in recorded.items() if value != "" and value != found[name]]:
            raise SaeuronError(
                f"The feature set for {self.concept!r} was made with another SAE (other {', '.join(different)}): "
                f"{self.sae.describe()}. The connected SAE is {identity.describe()}. "
                "Load the SAE it was made with, or select the features again with this one."
            )

    def to_json(self) -> str:
        """Readable, one feature a line. Errors: `SaeuronError` if a record holds what JSON has no word for."""
        document = {
            "format": FORMAT,
            "version": WITHOUT_PICTURE if self.picture is None else VERSION,
            "concept": self.concept,
            "note": self.note,
            "sae": self.sae.as_dict(),
            "sampling": self.sampling,
            "selection": self.selection,
            **({} if self.detector is None else {"detector": self.detector.as_dict()}),
            "steps": [
                {"sigma": step.sigma, "features": [_known(feature) for feature in step.features]} for step in self.steps
            ],
            **({} if self.picture is None else {"picture": self.picture.to_text()}),
            **self.extra,
        }
        return format_json(document) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "The feature set") -> FeatureSet:
        """The feature set that `text`, from anyone, describes. `source` names it in messages.

        Unknown fields at the top are kept, deeper ones are not.
        Errors: `SaeuronError` for what `parse_json` refuses, another format, a newer major version, missing fields,
        wrong types, and everything that can't be a feature set.
        """
        document = parse_json(text, source)
        if not isinstance(document, dict):
            raise SaeuronError(f"{source} must be a JSON object, found {brief(document)}.")
        check_format(document.get("format"), document.get("version"), FORMAT, VERSION, source)
        try:
            return cls(
                concept=_take(document, "concept", str),
                note=_take(document, "note", str, ""),
                sae=SAEIdentity.from_dict(_take(document, "sae", dict)),
                sampling=_take(document, "sampling", dict, {}),
                selection=_take(document, "selection", dict, {}),
                detector=Detector.from_dict(_take(document, "detector", dict)) if "detector" in document else None,
                picture=BeforeAfter.from_text(document["picture"]) if "picture" in document else None,
                steps=tuple(_read_step(number, step) for number, step in enumerate(_take(document, "steps", list))),
                extra={name: value for name, value in document.items() if name not in _TOP_LEVEL},
            )
        except SaeuronError as error:
            raise SaeuronError(f"{source}: {error}") from error

    def save(self, path: Path) -> None:
        """Errors: as `write_atomically`."""
        write_atomically(path, self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> FeatureSet:
        """Errors: `SaeuronError` if the file can't be read, or as `from_json` does."""
        text = read_text(path, MAX_SIZE)
        return cls.from_json(text, path.name)


_TOP_LEVEL = ("format", "version", "concept", "note", "sae", "sampling", "selection", "detector", "steps", "picture")


def _known(feature: Feature) -> dict[str, Any]:
    return {name: value for name, value in asdict(feature).items() if value is not None}


_IN_WORDS: dict[type, str] = {str: "text", dict: "an object", list: "a list"}


def _take(document: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    value = document.get(name, default)
    if not isinstance(value, kind):
        found = brief(value) if name in document else "nothing"
        raise SaeuronError(f"{name!r} must be {_IN_WORDS[kind]}, found {found}.")
    return value


def _read_step(number: int, step: Any) -> FeatureStep:
    try:
        if not isinstance(step, dict):
            raise SaeuronError(f"it must be an object, found {brief(step)}.")
        return FeatureStep(step.get("sigma"), tuple(_read_feature(entry) for entry in _take(step, "features", list)))
    except SaeuronError as error:
        raise SaeuronError(f"step {number}: {error}") from error


def _read_feature(entry: Any) -> Feature:
    if not isinstance(entry, dict):
        raise SaeuronError(f"a feature must be an object, found {brief(entry)}.")
    return Feature(entry.get("index", "none"), **{name: entry.get(name) for name in _STATISTICS})
