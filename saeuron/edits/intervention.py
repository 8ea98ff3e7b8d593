"""Turning a concept's features down while the model runs: METHOD phase 3, arXiv 2501.18052 section 4.

    f_i <- factor_i * f_i    for the selected i where f_i > mu_i(D)

and the edited code is written back in one of three modes. Everything here is a pure function of its arguments: there
is no step counter and no state, the step is told by the current sigma.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import SaeuronError
from ..features.feature_set import FeatureSet, FeatureStep
from ..finite import is_finite
from ..regions import check_region
from ..sae.model import SparseAutoencoder, SparseCodes, read_tokens
from .call import Call
from .when import ALWAYS, When
from .where import blend, row_weights

MODES = ("exact", "seed", "saeuron-code")
RULES = ("gamma-mu", "gamma", "zero", "relative")
TINY = 1e-20
NEEDS_MEANS = ("relative", "gamma-mu")
FARTHEST_PUSH = 4.0
"""How far the rule ``relative`` pushes at a multiplier of -100, in lengths of what the SAE reads at the token."""
SLACK = 1e-3
"""Of a pre-activation, in units of |x| |w|."""


@dataclass(frozen=True, eq=False)
class Intervention:
    """What is done to one concept at one hookpoint. ``multiplier`` is gamma."""

    feature_set: FeatureSet
    multiplier: float
    mode: str = "exact"
    rule: str = "gamma-mu"
    when: When = ALWAYS
    region: Tensor | None = None
    """Where it acts, as `row_weights` takes it."""

    last: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, value, choices in (("mode", self.mode, MODES), ("rule", self.rule, RULES)):
            if value not in choices:
                raise SaeuronError(f"Unknown {name} {value!r}; choose one of {', '.join(choices)}.")
        if not abs(self.multiplier) < float("inf"):
            raise SaeuronError(f"The multiplier must be a finite number, found {self.multiplier}.")
        if self.rule in NEEDS_MEANS and not self.feature_set.has_means:
            raise SaeuronError(
                f"The feature set for {self.feature_set.concept!r} lists features without their mean activations, "
                f"which the rule {self.rule} needs. Choose the rule gamma or zero, or compute the set with "
                "Collect Statistics."
            )
        if self.rule == "relative" and self.mode != "exact":
            raise SaeuronError(f"The rule relative is for the mode exact, not for {self.mode}; choose another rule.")
        if self.region is not None:
            check_region(self.region)

    @property
    def group(self) -> Hashable:
        """Interventions of the same group are applied as one."""
        return self.mode, self.rule == "relative", id(self.region)

    @staticmethod
    def apply_together(
        interventions: Sequence[Intervention],
        sae: SparseAutoencoder,
        kind: str,
        call: Call,
        rows: Sequence[int],
        block_input: Tensor,
        block_output: Tensor,
    ) -> Tensor:
        """`intervene` on `rows` of `call`, where the interventions' region is; of one group, [len(rows), H, W, d]."""
        edited = intervene(sae, kind, interventions, call.sigma, block_input, block_output)
        if edited is block_output:
            return block_output
        region = interventions[0].region
        height, width = block_output.shape[1:3]
        weights = row_weights(region, call, rows, height, width, block_output.device)
        return blend(block_output, edited, weights)

    def factors(self, step: FeatureStep) -> list[float]:
        """What each of the step's features is multiplied with where it is active: gamma * mu_i(D_c), gamma or 0.

        By the rule ``relative`` that depends on the token; these are then the weights mu_i(D_c) of the features.
        """
        if self.rule == "zero":
            return [0.0] * len(step.features)
        if self.rule == "gamma":
            return [self.multiplier] * len(step.features)
        multiplier = 1.0 if self.rule == "relative" else self.multiplier
        return [multiplier * (feature.mean_concept or 0.0) for feature in step.features]


@dataclass(frozen=True)
class FeatureEdit:
    """The edits of all interventions that act now, as tensors. Each feature occurs once."""

    features: Tensor
    """[m] int64."""

    factors: Tensor
    """[m] float32."""

    thresholds: Tensor
    """[m] float32, mu_i(D); 0 where it is not known, so that any activation counts."""


def combine(interventions: Sequence[Intervention], sigma: float, device: torch.device) -> FeatureEdit | None:
    """What `interventions` do together at the step of `sigma`, or None if nothing.

    Where two name the same feature, the factor that is further from 1 counts: multiplying them would turn two
    removals into an amplification. The order of the interventions does not matter.
    """
    chosen: dict[int, tuple[float, float]] = {}
    for intervention in interventions:
        step = intervention.feature_set.at_sigma(sigma)
        for feature, factor in zip(step.features, intervention.factors(step), strict=True):
            candidate = (factor, feature.mean_all or 0.0)
            known = chosen.get(feature.index)
            if known is None or _strength(candidate) > _strength(known):
                chosen[feature.index] = candidate
    unchanged = 0.0 if interventions[0].rule == "relative" else 1.0
    changing = {index: edit for index, edit in sorted(chosen.items()) if edit[0] != unchanged}
    if not changing:
        return None
    factors, thresholds = zip(*changing.values(), strict=True)
    return FeatureEdit(
        torch.tensor(list(changing), dtype=torch.int64, device=device),
        torch.tensor(factors, dtype=torch.float32, device=device),
        torch.tensor(thresholds, dtype=torch.float32, device=device),
    )


def _strength(edit: tuple[float, float]) -> tuple[float, float, float]:
    factor, threshold = edit
    return abs(factor - 1), -factor, -threshold


def intervene(
    sae: SparseAutoencoder,
    kind: str,
    interventions: Sequence[Intervention],
    sigma: float,
    block_input: Tensor,
    block_output: Tensor,
) -> Tensor:
    """The block's output after `interventions`, which all act and are of one `group`, at noise level `sigma`.

    Block input and output are channels last, [..., d], of any float dtype; the edit is computed in float32 and
    returned in the output's dtype. Where nothing is to be done, `block_output` itself is returned.
    Errors: `SaeuronError` if an edited token is not finite, which names the cause: the edit, or the model itself.
    """
    if not interventions:
        return block_output
    mode = interventions[0].mode
    if interventions[0].rule == "relative":
        return push_away(sae, interventions, sigma, read_tokens(kind, block_input, block_output), block_output)
    edit = combine(interventions, sigma, block_output.device)
    if mode == "exact" and edit is None:
        return block_output
    x = read_tokens("output" if mode == "seed" else kind, block_input, block_output)
    if mode == "seed":
        return edit_seed(sae, sae.encode(x), edit, block_output)
    if mode == "saeuron-code":
        return edit_saeuron_code(sae, sae.encode(x), edit, x, block_output)
    assert edit is not None
    return edit_exact(sae, edit, x, block_output)


def code_change(codes: SparseCodes, edit: FeatureEdit) -> Tensor:
    """f_edited - f for the edit's features, float32 [..., m]; 0 where a feature is not above its threshold."""
    f = codes.of(edit.features)
    return torch.where(f > edit.thresholds, (edit.factors - 1) * f, 0.0)


def edit_exact(sae: SparseAutoencoder, edit: FeatureEdit, x: Tensor, output: Tensor) -> Tensor:
    """``out + (f_edited - f) @ W_dec``: what the SAE does not explain is kept, its bias cancels.

    `x` is what the codes are made of (the update or the output), `output` the block's output, both [..., d]. Tokens
    without a change keep their exact bits; where no token changes, `output` itself is returned.
    """
    candidates = may_change(sae, edit, x)
    if not candidates.any():
        return output
    change = code_change(sae.encode(x[candidates]), edit)
    changed = (change != 0).any(-1)
    if not changed.any():
        return output
    touched = candidates.clone()
    touched[candidates] = changed
    before = output[touched]
    after = (before.float() + change[changed] @ sae.decoder_rows(edit.features)).to(output.dtype)
    edited = output.clone()
    edited[touched] = _finite(after, before, edit)
    return edited


def push_away(
    sae: SparseAutoencoder, interventions: Sequence[Intervention], sigma: float, x: Tensor, output: Tensor
) -> Tensor:
    """The rule ``relative``: ``out + multiplier / 100 * FARTHEST_PUSH * g * |x| * p / |p|`` over several that add up,

        p = sum_i mu_i f_i W_dec[i],  g = min(1, sum_i mu_i f_i / sum_i mu_i^2),  mu_i = mu_i(D_c), where f_i > mu_i(D)

    The direction is that of ``gamma-mu`` (arXiv 2501.18052), the length that of the token itself, less where the
    concept fires less than on its own pictures: one multiplier does the same for every SAE and concept, whatever units
    codes are in. `x` [..., d] is what the codes are made of, `output` [..., d] the block's output. Tokens on which no
    feature fires keep their exact bits; where there are none, `output` itself is returned.
    """
    pushed: Tensor | None = None
    codes: SparseCodes | None = None
    for intervention in interventions:
        edit = combine([intervention], sigma, output.device)
        if edit is None or not intervention.multiplier or not may_change(sae, edit, x).any():
            continue
        codes = sae.encode(x) if codes is None else codes
        f = codes.of(edit.features)
        weighted = torch.where(f > edit.thresholds, edit.factors * f, 0.0)
        direction = weighted @ sae.decoder_rows(edit.features)
        firing = (weighted.sum(-1, keepdim=True) / edit.factors.square().sum()).clamp(max=1)
        length = firing * x.norm(dim=-1, keepdim=True) / direction.norm(dim=-1, keepdim=True).clamp(min=TINY)
        part = intervention.multiplier / 100 * FARTHEST_PUSH * length * direction
        pushed = part if pushed is None else pushed + part
    if pushed is None:
        return output
    touched = (pushed != 0).any(-1, keepdim=True)
    after = torch.where(touched, (output.float() + pushed).to(output.dtype), output)
    return _finite(after, output, None)


def may_change(sae: SparseAutoencoder, edit: FeatureEdit, x: Tensor) -> Tensor:
    """bool [...]: the tokens of `x` [..., d] that `edit` could change, and as few others as is cheap.

    A feature below its threshold is left alone whether it is among the k kept or not, and on most tokens all of the
    edit's are: those tokens need no encoding, which is nearly all that an edit costs. The slack is far above the
    rounding of a product of this length, also in TF32; what it lets through is decided by the encoding.
    """
    weight, bias = sae.encoder_rows(edit.features)
    slack = SLACK * x.norm(dim=-1, keepdim=True) * weight.norm(dim=-1).max()
    candidates: Tensor = (sae.at_most(nn.functional.linear(x, weight, bias)) > edit.thresholds - slack).any(-1)
    return candidates


def edit_seed(sae: SparseAutoencoder, codes: SparseCodes, edit: FeatureEdit | None, output: Tensor) -> Tensor:
    """``decode(f_edited)`` replaces the block's output; the codes are those of the output, as in the seed notebook.

    It also replaces what the SAE does not explain, and the update an SAE was trained on is not what it is fed: kept
    for comparison. With `edit` None this is the reconstruct-only control.
    """
    return _finite((sae.decode(codes) + _decoded_change(sae, codes, edit)).to(output.dtype), output, edit)


def edit_saeuron_code(
    sae: SparseAutoencoder, codes: SparseCodes, edit: FeatureEdit | None, x: Tensor, output: Tensor
) -> Tensor:
    """``decode(f_edited) + (decode(f) - x)`` replaces x in the block's output, as the published SAeUron hook does.

    The error term has the wrong sign there: with nothing edited this is 2 decode(f) - x, not x. Kept for comparison.
    `x` is what the codes were made of (the update or the output), `output` the block's output, both [..., d].
    """
    decoded = sae.decode(codes)
    replacement = decoded + _decoded_change(sae, codes, edit) + (decoded - x.float())
    return _finite((output.float() + (replacement - x.float())).to(output.dtype), x, edit)


def _decoded_change(sae: SparseAutoencoder, codes: SparseCodes, edit: FeatureEdit | None) -> Tensor | float:
    """``(f_edited - f) @ W_dec``; 0 where nothing is edited."""
    return 0.0 if edit is None else code_change(codes, edit) @ sae.decoder_rows(edit.features)


def _finite(edited: Tensor, before: Tensor, edit: FeatureEdit | None) -> Tensor:
    if is_finite(edited, before):
        return edited
    largest = float(edit.factors.abs().max()) if edit is not None else 0.0
    raise SaeuronError(
        f"The edited activation is not finite (largest effective factor {largest:.3g}). Move the multiplier "
        "closer to 0, or run the model in bfloat16 or float32."
    )
