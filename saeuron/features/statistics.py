"""What an SAE's features do on a set of prompts: sums and counts for each denoising step, streamed and mergeable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SaeuronError
from ..files import check_format, format_safetensors, read_safetensors, write_atomically
from ..json_text import format_json, parse_json
from ..sae.model import JUMPRELU, SAEIdentity, SparseCodes
from ..schedule import check_schedule, difference, nearest_step
from .kept_pictures import KeptPictures

FORMAT = "saeuron-statistics"
VERSION = "1.1"
"""1.1 added the kept pictures; files without any are read as before."""

RATE_UNITS = ("image", "token")

# Activations are rounded to multiples of this, which changes none above 1/128 and the others by less than 1e-9. Sums in
# float64 are then exact up to 2**23 for each feature and step, so they do not depend on the order of adding.
_RESOLUTION = 2.0**-30

FIRST_SIGMA = 1e-3
"""Relative: a call whose noise level is at most this far below the first step's is a picture's first call."""

# dtype and shape of each tensor of sums; the shape is the first one or both of (s, n)
_LAYOUT = {
    "total": (torch.float64, 2),
    "tokens": (torch.int64, 1),
    "fired_tokens": (torch.int64, 2),
    "fired_images": (torch.int64, 2),
    "images": (torch.int64, 1),
}


class ActivationStatistics:
    """Running sums of SAE codes; s steps, n features, float64 and int64 on the CPU, of a size that never grows.

    With them come the codes themselves of some named pictures at the first step, of a size that is bounded.
    A shard of the prompts can be collected anywhere: merging shards gives what one pass gives, exactly.
    """

    total: Tensor
    """[s, n] float64, the sum of f_i over all tokens."""

    tokens: Tensor
    """[s] int64, how many tokens were seen."""

    fired_tokens: Tensor
    """[s, n] int64, on how many tokens f_i > 0."""

    fired_images: Tensor
    """[s, n] int64, on how many images f_i > 0 for at least one token."""

    images: Tensor
    """[s] int64, how many images were seen."""

    pictures: KeptPictures
    """Codes at the first step of at most 256 pictures: up to k MiB, 10 MiB for SDXL-Turbo's SAEs with k 10."""

    def __init__(
        self,
        sae: SAEIdentity,
        sigmas: Sequence[float],
        sampling: Mapping[str, Any] | None = None,
        concept: str = "",
    ) -> None:
        """`sigmas`: the noise level of each denoising step, descending. `sampling`: settings to record, JSON values.

        Errors: `SaeuronError` if `sigmas` is no schedule.
        """
        self.sae = sae
        self.sigmas = check_schedule(sigmas)
        self.sampling = dict(sampling or {})
        self.concept = concept
        for name, (dtype, ndim) in _LAYOUT.items():
            setattr(self, name, torch.zeros((len(self.sigmas), sae.n)[:ndim], dtype=dtype))
        self.pictures = KeptPictures(sae)

    @property
    def prompts(self) -> int:
        """How many prompts were collected: the images seen at the first step."""
        return int(self.images[0])

    def step_of(self, sigma: float) -> int:
        """The step whose sigma is nearest by ratio: samplers of second order also call the model between steps."""
        return nearest_step(self.sigmas, sigma)

    def add(self, sigma: float, codes: SparseCodes, pictures: Sequence[str] | None = None) -> None:
        """Add the codes [B, ..., k] of B images at noise level `sigma`, on any device.

        `pictures` names the B images, each by what it is drawn from (prompt and seed), so that the same picture always
        has the same name and no other has it. Named ones can be kept for a detector; without names none are.
        Errors: `SaeuronError`, with nothing added, for codes of another shape, codes that are not finite or negative,
        indices outside [0, n), and another number of names than images.
        """
        values, indices = codes.values.detach().cpu(), codes.indices.detach().cpu()
        self._check(sigma, values, indices)
        if pictures is not None and len(pictures) != len(values):
            raise SaeuronError(f"There are {len(values)} images, but {len(pictures)} names for them.")
        step, images, n = self.step_of(sigma), len(values), self.sae.n
        if pictures is not None and step == 0 and sigma >= self.sigmas[0] * (1 - FIRST_SIGMA):
            self.pictures.add(pictures, values, indices)
        fired = values > 0
        features = indices[fired]
        image = torch.arange(images).view(-1, *[1] * (values.ndim - 1)).expand_as(values)[fired]
        once_per_image = (image * n + features).unique() % n
        rounded = (values[fired].double() / _RESOLUTION).round() * _RESOLUTION
        self.total[step].index_add_(0, features, rounded)
        self.tokens[step] += values[..., 0].numel()
        self.fired_tokens[step] += features.bincount(minlength=n)
        self.fired_images[step] += once_per_image.bincount(minlength=n)
        self.images[step] += images

    def of_pictures(self, names: Sequence[str]) -> ActivationStatistics:
        """Statistics of the first step alone, of those of the pictures `names` whose codes are kept."""
        chosen = ActivationStatistics(self.sae, self.sigmas[:1], self.sampling, self.concept)
        for name, codes in self.pictures.named(names).items():
            chosen.add(self.sigmas[0], SparseCodes(codes.values[None], codes.indices[None]), [name])
        return chosen

    def check_comparable(self, other: ActivationStatistics) -> None:
        """Errors: `SaeuronError` naming both if they are of different SAEs or schedules."""
        if self.sae != other.sae:
            raise SaeuronError(
                f"Statistics of different SAEs can't be combined: {self.sae.describe()}, and {other.sae.describe()}. "
                "Collect both with the same SAE."
            )
        if what := difference(self.sigmas, other.sigmas):
            raise SaeuronError(
                f"Statistics of different schedules can't be combined: {what}. "
                "Collect both with the same scheduler and number of steps."
            )

    def merge(self, other: ActivationStatistics) -> ActivationStatistics:
        """The statistics of both sets of prompts together, as new ones.

        Of concept and sampling settings, what both agree on is kept. Errors: as `check_comparable`.
        """
        self.check_comparable(other)
        absent = object()
        sampling = {key: value for key, value in self.sampling.items() if other.sampling.get(key, absent) == value}
        concept = self.concept if self.concept == other.concept else ""
        merged = ActivationStatistics(self.sae, self.sigmas, sampling, concept)
        for name in _LAYOUT:
            setattr(merged, name, getattr(self, name) + getattr(other, name))
        merged.pictures = self.pictures.merge(other.pictures)
        return merged

    @classmethod
    def merged(cls, parts: Sequence[ActivationStatistics]) -> ActivationStatistics:
        """All `parts` merged. Errors: `SaeuronError` if there are none, or as `check_comparable`."""
        if not parts:
            raise SaeuronError("There are no statistics to merge; connect at least one.")
        first = parts[0]
        return reduce(cls.merge, parts, cls(first.sae, first.sigmas, first.sampling, first.concept))

    def mean(self, per_step: bool) -> Tensor:
        """mu_i: the mean of f_i over all tokens, zeros included; [s, n] float64, or [1, n] over all steps.

        Errors: `SaeuronError` if a step has no tokens.
        """
        return self._share(self.total, self.tokens, per_step)

    def firing_rate(self, unit: str, per_step: bool) -> Tensor:
        """Share of images (``image``) or tokens (``token``) on which f_i > 0; [s, n] float64, or [1, n] over all steps.

        Over all steps, an image counts once for each step.
        Errors: `SaeuronError` for another unit, or if a step has no tokens.
        """
        if unit not in RATE_UNITS:
            raise SaeuronError(f"Firing rates are per {' or '.join(RATE_UNITS)}, not per {unit!r}.")
        if unit == "image":
            return self._share(self.fired_images, self.images, per_step)
        return self._share(self.fired_tokens, self.tokens, per_step)

    def save(self, path: Path, pictures: bool = True) -> None:
        """Write a safetensors file; its metadata says what the tensors are of. Without `pictures` only the sums.

        Errors: as `write_atomically`.
        """
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "sae": format_json(self.sae.as_dict()),
            "sigmas": format_json(self.sigmas),
            "sampling": format_json(self.sampling),
            "concept": self.concept,
            "prompts": str(self.prompts),
        }
        tensors = {name: getattr(self, name) for name in _LAYOUT}
        if pictures:
            tensors |= self.pictures.tensors()
        write_atomically(path, format_safetensors(tensors, metadata))

    @classmethod
    def load(cls, path: Path) -> ActivationStatistics:
        """Read what `save` wrote. Errors: `SaeuronError` for a missing, damaged or contradictory file."""
        tensors, metadata = read_safetensors(path)
        check_format(metadata.get("format"), metadata.get("version"), FORMAT, VERSION, path.name)
        sae, sigmas, sampling = (
            parse_json(metadata.get(key, "null"), f"{path.name}: {key}") for key in ("sae", "sigmas", "sampling")
        )
        if not isinstance(sae, dict) or not isinstance(sampling, dict) or not isinstance(sigmas, list):
            raise SaeuronError(f"{path.name} does not record its SAE, sigmas and sampling settings; it is damaged.")
        identity = SAEIdentity.from_dict(sae)
        # Before anything of the promised size is made.
        for name, (dtype, ndim) in _LAYOUT.items():
            tensor, shape = tensors.get(name), (len(sigmas), identity.n)[:ndim]
            if tensor is None or tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise SaeuronError(f"{path.name} must hold {name!r} as {dtype} {list(shape)}; it is damaged.")
        statistics = cls(identity, sigmas, sampling, metadata.get("concept", ""))
        for name in _LAYOUT:
            setattr(statistics, name, tensors[name])
        statistics.pictures = KeptPictures.from_tensors(identity, tensors, path.name)
        if not statistics._is_consistent():
            raise SaeuronError(f"{path.name} holds counts that contradict each other; it is damaged. Collect it again.")
        return statistics

    def _check(self, sigma: float, values: Tensor, indices: Tensor) -> None:
        width = values.shape[-1] if values.ndim else 0
        fits = width == self.sae.k or (self.sae.activation == JUMPRELU and 1 <= width <= self.sae.n)
        if values.shape != indices.shape or values.ndim < 2 or not fits or not values.numel():
            raise SaeuronError(
                f"Codes of {self.sae.describe()} are values and indices [images, ..., {self.sae.k}], "
                f"found {list(values.shape)} and {list(indices.shape)}."
            )
        if not ((values >= 0) & (values < torch.inf)).all():
            raise SaeuronError(
                f"At sigma {sigma:.4g} the SAE's codes are not finite or are negative. "
                "Run the model in bfloat16 or float32 and check that the SAE belongs to it."
            )
        if not ((indices >= 0) & (indices < self.sae.n)).all():
            raise SaeuronError(f"Codes name features outside 0 to {self.sae.n - 1}: not of {self.sae.describe()}.")

    def _share(self, sums: Tensor, counts: Tensor, per_step: bool) -> Tensor:
        if not per_step:
            sums, counts = sums.sum(0, keepdim=True), counts.sum(0, keepdim=True)
        for step in (counts == 0).nonzero().flatten().tolist():
            where = f" at step {step} (sigma {self.sigmas[step]:.4g}); pool the steps, or" if per_step else ";"
            raise SaeuronError(f"No activations were recorded{where} collect the statistics again.")
        return sums.double() / counts.unsqueeze(-1)

    def _is_consistent(self) -> bool:
        checks = (
            (self.total >= 0) & (self.total < torch.inf),
            (self.total > 0) <= (self.fired_tokens > 0),
            (self.fired_images >= 0) & (self.fired_images <= self.fired_tokens),
            (self.fired_images > 0) == (self.fired_tokens > 0),
            self.fired_images <= self.images.unsqueeze(-1),
            self.fired_tokens <= self.tokens.unsqueeze(-1),
            (self.images >= 0) & (self.images <= self.tokens),
            (self.images > 0) == (self.tokens > 0),
            self.images[0] >= len(self.pictures),
        )
        return all(bool(check.all()) for check in checks)
