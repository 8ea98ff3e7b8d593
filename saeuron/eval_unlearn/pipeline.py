"""A model with one concept taken away, behind the few calls that benchmarks of diffusers pipelines make."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli.options import MINIATURE, MINIATURE_SAE
from ..edits.intervention import MODES, Intervention
from ..edits.replace import Replacement
from ..errors import SaeuronError
from ..features.feature_set import FeatureSet
from ..features.forgetting import SELECTION, concept_prompts, other_prompts, with_article
from ..features.selection import select_features
from ..miniature.loading import PROMPTS_FOLDER
from ..prompts import read_prompts
from ..reference.miniature import load_miniature
from ..reference.models import DiffusersModel, load_model
from ..reference.pipeline import ReferenceEdit, ReferencePipeline
from ..reference.replacing import ReferenceReplacement
from ..reference.sampling import SCHEDULERS, ReferenceSettings
from ..sae.files import LoadedSAE, load_sae
from ..shots import Shot, shots_of

if TYPE_CHECKING:
    from PIL.Image import Image

REPLACE = "replace"
SAE_VARIABLE, FEATURES_VARIABLE = "SAEURON_SAE", "SAEURON_FEATURES"
"""Environment variables that stand for `sae` and `features` where a caller has no way to name them."""

BATCH = 8
COLLECTING_STEPS = 8
"""Of the runs in which features are looked for."""


class SAeUronPipeline:
    """Draws with `concept` taken away.

    `model_id` is ``miniature``, or an SDXL, SD 1.4 or SD 1.5 pipeline: a folder, or a name on the Hugging Face hub.
    `sae` is its SAE's file or folder, `features` a feature set of that SAE; without `features` those of `concept` are
    looked for when this is made, by drawing some prompts that name it and others. `mode` is one of `MODES`, which
    `multiplier` belongs to, or ``replace``, which draws `instead` where the concept is found. `device` None is CUDA
    where there is one; `use_fp16` is for such a device only.
    Errors: `SaeuronError` for what is missing or does not fit.
    """

    def __init__(
        self,
        concept: str,
        multiplier: float = -1.0,
        model_id: str = MINIATURE,
        device: str | None = None,
        use_fp16: bool = True,
        *,
        sae: str | Path | None = None,
        features: str | Path | None = None,
        mode: str = MODES[0],
        instead: str = "",
    ) -> None:
        import torch

        if mode not in (*MODES, REPLACE):
            raise SaeuronError(f"There is no mode {mode!r}; choose one of {', '.join((*MODES, REPLACE))}.")
        if mode == REPLACE and not instead:
            raise SaeuronError("Say with `instead` what to draw where the concept is found.")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float16 if use_fp16 and torch.device(device).type == "cuda" else torch.float32
        self._loaded = _load_sae(sae or os.environ.get(SAE_VARIABLE), model_id)
        load = load_miniature if model_id == MINIATURE else partial(load_model, model_id)
        self._model = _with_euler(load(device, dtype))
        self.feature_set = self._find(concept, features or os.environ.get(FEATURES_VARIABLE))
        self._edit = self._edit_of(concept, multiplier, mode, instead)

    def generate(
        self,
        prompts: Sequence[str] | str,
        seed: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        **_: Any,
    ) -> list[Image]:
        """A PIL picture of each prompt; the seeds count up from `seed`, None is one that nobody knows.

        Other keyword arguments of diffusers pipelines are taken and do nothing.
        """
        from PIL import Image

        if seed is None:
            seed = int.from_bytes(os.urandom(4), "little")
        shots = shots_of([prompts] if isinstance(prompts, str) else prompts, 1, seed)
        drawn = self._pipeline(num_inference_steps, guidance_scale).draw(shots, [self._edit])
        return [Image.fromarray(picture) for picture in drawn]

    def _pipeline(self, steps: int, cfg: float) -> ReferencePipeline:
        return ReferencePipeline(self._model, self._loaded, ReferenceSettings(steps, cfg, batch=BATCH))

    def _find(self, concept: str, features: str | Path | None) -> FeatureSet:
        """The feature set in `features`, or one that is found for `concept` now."""
        if features:
            feature_set = FeatureSet.load(Path(features))
            feature_set.check_sae(self._loaded.identity)
            return feature_set
        own = PROMPTS_FOLDER / "fit" / f"{concept}.txt"
        prompts = read_prompts(own) if own.is_file() else concept_prompts(concept)
        others = [
            prompt
            for file in sorted(own.parent.glob("*.txt"))
            if file != own and not file.name.startswith("style-")
            for prompt in read_prompts(file)
        ]
        pipeline = self._pipeline(COLLECTING_STEPS, 1.0)
        with_it, without = (
            pipeline.collect([Shot(prompt, place) for place, prompt in enumerate(asked)], name)
            for asked, name in ((prompts, concept), (other_prompts(concept, others), "others"))
        )
        return replace(select_features(with_it, without, SELECTION), concept=concept)

    def _edit_of(self, concept: str, multiplier: float, mode: str, instead: str) -> ReferenceEdit:
        if mode != REPLACE:
            return Intervention(self.feature_set, multiplier, mode)
        return ReferenceReplacement(Replacement(self.feature_set), with_article(concept), with_article(instead))


def _load_sae(path: str | Path | None, model_id: str) -> LoadedSAE:
    if path is None and model_id == MINIATURE:
        path = MINIATURE_SAE
    if path is None:
        raise SaeuronError(
            f"Which SAE is {model_id} to be edited with? Give its file or folder as `sae`, or in the environment "
            f"variable {SAE_VARIABLE}. `python -m saeuron download` lists published ones."
        )
    return load_sae(Path(path))


def _with_euler(model: DiffusersModel) -> DiffusersModel:
    """`model` with a scheduler that the reference path samples with, of the same noise levels and prediction."""
    if type(model.scheduler).__name__ in SCHEDULERS:
        return model
    import diffusers

    scheduler = getattr(diffusers, SCHEDULERS[0]).from_config(model.scheduler.config)
    return replace(model, scheduler=scheduler)
