"""Prompts to pictures and to statistics on diffusers: one model, one SAE at its hookpoint, any edits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..edits.apply import Edit, apply_edits
from ..edits.call import POSITIVE, Call
from ..edits.steering import Steering
from ..errors import SaeuronError
from ..evaluation.fit import Fit, FitMeter
from ..features.statistics import ActivationStatistics
from ..sae.base_models import check_fits, check_width
from ..sae.files import LoadedSAE
from ..sae.hookpoints import HOOKPOINT
from ..sae.model import SAEIdentity, SparseAutoencoder, SparseCodes, read_tokens
from ..shots import Shot
from .models import DiffusersModel
from .replacing import Decision, ReferenceReplacement, ReplacingRun, Watch
from .sampling import Held, ReferenceSettings, Sampler, Start, UNet
from .tracing import Stop

ReferenceEdit = Edit | ReferenceReplacement


def _unwatched(_replacement: ReferenceReplacement, _place: int, _decision: Decision) -> None:
    pass


def _from_place(first: int, watch: Watch) -> Watch:
    """`watch`, told of a batch whose first picture is at the place `first`."""
    return lambda replacement, picture, decision: watch(replacement, first + picture, decision)


def _add(statistics: ActivationStatistics, names: Sequence[str], call: Call, codes: SparseCodes) -> None:
    statistics.add(call.sigma, codes, names)


def _check(edit: ReferenceEdit, identity: SAEIdentity) -> None:
    """Errors: `SaeuronError` if `edit` is not of this SAE."""
    if isinstance(edit, Steering):
        edit.check_features(identity.n)
    elif isinstance(edit, ReferenceReplacement):
        edit.replacement.feature_set.check_sae(identity)
    else:
        edit.feature_set.check_sae(identity)


class ReferencePipeline:
    """A `Pipeline` on diffusers, which takes replacements besides the other edits.

    `progress` is called with the number of pictures done after each batch. Errors: `SaeuronError` if the SAE does not
    belong to the model, or as `Sampler`.
    """

    def __init__(
        self,
        model: DiffusersModel,
        loaded: LoadedSAE,
        settings: ReferenceSettings,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        hookpoints = [name for name, _ in model.unet.named_modules() if HOOKPOINT.fullmatch(name)]
        self.hookpoint = check_fits(loaded.identity, model.family, model.unet.config.block_out_channels[0], hookpoints)
        check_width(loaded.identity, model.unet.get_submodule(self.hookpoint).in_channels)
        self.sampler = Sampler(model, settings)
        self._model, self._settings, self._progress = model, settings, progress
        self.loaded = loaded._replace(sae=_placed(loaded.sae, model.device))

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise level of each step."""
        return self.sampler.sigmas

    def draw(self, shots: Sequence[Shot], edits: Sequence[ReferenceEdit] = (), watch: Watch = _unwatched) -> np.ndarray:
        """All pictures, uint8 [len(shots), H, W, 3], in the order of `shots`."""
        return np.concatenate([pictures for _, pictures in self.draw_batches(shots, edits, watch)])

    def draw_batches(
        self, shots: Sequence[Shot], edits: Sequence[ReferenceEdit] = (), watch: Watch = _unwatched
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """As `Pipeline.draw_batches`; `edits` are of this SAE, and `watch` is told the places in `shots`."""
        for places in self._batches(shots):
            own = [shots[place] for place in places]
            yield places, self._decode(self.sample(own, edits, watch=_from_place(places[0], watch)))

    def sample(
        self,
        shots: Sequence[Shot],
        edits: Sequence[ReferenceEdit] = (),
        start: Start | None = None,
        watch: Watch = _unwatched,
    ) -> Tensor:
        """Latents [B, 4, h, w] of one batch; with `start` it begins from pictures.

        Errors: `SaeuronError` for an edit of another SAE, or as `Sampler.sample`.
        """
        for edit in edits:
            _check(edit, self.loaded.identity)
        replacements = [edit for edit in edits if isinstance(edit, ReferenceReplacement)]
        others = [edit for edit in edits if not isinstance(edit, ReferenceReplacement)]
        size = self.sampler.latent_size
        replacing = ReplacingRun(self._model, self.loaded, self.hookpoint, size, replacements, watch)

        def call_unet(call: Call, unet: UNet) -> Tensor:
            reader = partial(apply_edits, self.loaded.sae, self.loaded.identity.kind, others, call)
            return replacing.predict(call, unet, reader)

        if not replacing.looks_first:
            return self.sampler.sample(shots, call_unet, start)
        with replacing.looking():
            seen = self.sampler.sample(shots, call_unet, start)
        free = replacing.may_change(seen)
        return self.sampler.sample(shots, call_unet, start, Held(free, seen)) if free.any() else seen

    def collect(self, shots: Sequence[Shot], concept: str = "") -> ActivationStatistics:
        """Statistics of the codes of `shots`, of the positive half only."""
        settings = {**asdict(self._settings), "width": self.sampler.width, "height": self.sampler.height}
        sampling = {"sampler": type(self._model.scheduler).__name__, **settings}
        statistics = ActivationStatistics(self.loaded.identity, self.sigmas, sampling, concept)
        for places in self._batches(shots):
            names = [f"{shots[place].seed} {shots[place].prompt}" for place in places]

            self._read([shots[place] for place in places], partial(_add, statistics, names))
        return statistics

    def codes(self, shots: Sequence[Shot], start: Start | None = None) -> list[SparseCodes]:
        """What the SAE sees of each of `shots` in a run's first call, [h, w, k] each; nothing else of them is drawn.

        With `start` the run begins from its pictures, one for each shot: then these are their codes at the noise level
        of its step (`read_pictures`).
        """
        found: list[SparseCodes] = []

        def read(_call: Call, codes: SparseCodes) -> None:
            found.extend(map(SparseCodes, *codes))
            raise Stop

        for places in self._batches(shots):
            own = start and start._replace(latents=start.latents[places[0] : places[-1] + 1])
            with suppress(Stop):
                self._read([shots[place] for place in places], read, own)
        return found

    def fit(self, shots: Sequence[Shot]) -> Fit:
        """How the SAE does on the pictures of `shots`, of their positive half."""
        meter = FitMeter(self.loaded.sae, self.loaded.identity.kind, self.sigmas)
        for places in self._batches(shots):
            self._read_tokens([shots[place] for place in places], lambda call, *tokens: meter.add(call.sigma, *tokens))
        return meter.fit()

    def _read(
        self, shots: Sequence[Shot], read: Callable[[Call, SparseCodes], None], start: Start | None = None
    ) -> None:
        """Sample, and hand `read` the positive half's codes, picture by picture in the order of `shots`."""

        def encode(call: Call, given: Tensor, gave: Tensor) -> None:
            read(call, self.loaded.sae.encode(read_tokens(self.loaded.identity.kind, given, gave)))

        self._read_tokens(shots, encode, start)

    def _read_tokens(
        self, shots: Sequence[Shot], read: Callable[[Call, Tensor, Tensor], None], start: Start | None = None
    ) -> None:
        """The same with what the block was given and gave, [rows, h, w, d] each."""

        def call_unet(call: Call, unet: UNet) -> Tensor:
            rows = [row for row in range(len(call.rows)) if call.role(row) == POSITIVE]

            def reader(block_input: Tensor, block_output: Tensor) -> None:
                read(call, block_input[rows], block_output[rows])

            return unet({self.hookpoint: reader})

        self.sampler.sample(shots, call_unet, start)

    def _batches(self, shots: Sequence[Shot]) -> Iterator[range]:
        """Places in `shots` that are drawn together. Errors: `SaeuronError` if there are none."""
        if not shots:
            raise SaeuronError("There are no prompts to draw. Give at least one.")
        for start in range(0, len(shots), self._settings.batch):
            places = range(start, min(start + self._settings.batch, len(shots)))
            yield places
            self._progress(len(places))

    def _decode(self, latents: Tensor) -> np.ndarray:
        vae: Any = self._model.vae
        with torch.inference_mode():
            pictures = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
        pixels = ((pictures.float() + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1)
        return np.asarray(pixels.cpu())


def _placed(sae: SparseAutoencoder, device: torch.device) -> SparseAutoencoder:
    """`sae` on `device` in float32, which it computes in; a copy where it is not so already."""
    if all(tensor.device == device and tensor.dtype == torch.float32 for tensor in sae.state_dict().values()):
        return sae
    return copy.deepcopy(sae).to(device, torch.float32)
