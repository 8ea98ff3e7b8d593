"""Replacements on a MODEL: detection at a run's first call, the edit in every cross-attention layer after it.

The first call is run unedited until the last hookpoint has been read. If a picture's gate opened it is stopped there
and run again with the edit; otherwise it just goes on. What was found is kept for the rest of the run. A conditioning
that appears later in the run is looked at when it does.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...saeuron.edits.call import POSITIVE, Area, Call
from ...saeuron.edits.cross_attention import KeysValues, attention_difference, keys_values
from ...saeuron.edits.masks import resize
from ...saeuron.edits.replace import (
    Replacement,
    Touched,
    answer_map,
    answer_size,
    detect,
    may_change,
    replace_tokens,
    see,
    token_mask,
    touched_tokens,
)
from ...saeuron.edits.where import row_weights
from ...saeuron.errors import SaeuronError
from ...saeuron.figures.tables import replaced_table
from ...saeuron.sae.model import SparseCodes, read_tokens
from .hook import Hook
from .layers import layers_of
from .replacement_masks import keep_masks
from .runs import Preview, Run, warn_of_no_effect
from .sockets import HostedSAE
from .unet import Site


@dataclass(frozen=True, eq=False)
class ReplacementPatch:
    """One replacement, where its SAE reads, and the two texts, each [1, s, c] as CLIP gives them."""

    site: Site
    sae: HostedSAE
    replacement: Replacement
    concept: Tensor
    instead: Tensor
    preview: Preview | None = None

    # Packs copy the options that patches travel in; a run keeps what it found under the patch itself.
    def __deepcopy__(self, _: Any) -> ReplacementPatch:
        return self


class Part(NamedTuple):
    """What is decided once in a run: one picture, or an area of it, as one conditioning draws it."""

    conditioning: int
    picture: int
    area: Area | None


class Decision(NamedTuple):
    share: float
    """Of the tokens that were marked."""

    weights: Tensor | None
    """float32 [h, w] of the hookpoint's map; None where the gate is closed."""
    strength: float = 0.0
    free: Tensor | None = None
    """float32 [h, w], what may change if the picture is drawn a second time (`may_change`)."""
    found: bool = False
    """Whether the first call opened the gate."""


@dataclass(eq=False)
class Replaced:
    """What one replacement has found and made in one run."""

    decisions: dict[Part, Decision] = field(default_factory=dict)
    texts: dict[str, tuple[KeysValues, KeysValues]] = field(default_factory=dict)
    """Layer -> keys and values of what stands instead and of the concept."""
    touched: dict[Hashable, Touched | None] = field(default_factory=dict)


def report_replacement(patch: ReplacementPatch, run: Run) -> None:
    """Show where `patch` acted in `run`, and keep its masks for those who ask for them."""
    decisions = run.kept(patch, Replaced).decisions
    if run.latents is not None:
        keep_masks(patch, run.latents, {part: decision.weights for part, decision in decisions.items()})
    if patch.preview is None:
        return
    replacement = patch.replacement
    due = any(run.schedule[step] >= replacement.when.sigma_end for step in run.asked())
    if replacement.strength and due and not decisions:
        warn_of_no_effect(patch.preview.name)
    rows = [
        (part.picture, part.conditioning, decision.share, decision.weights is not None)
        for part, decision in decisions.items()
    ]
    patch.preview.show(run, replaced_table(rows))


class Stop(BaseException):
    """Ends a call of the UNet that is to be run again with the edit. No error: nobody on the way should handle it."""


class ReplacingCall:
    """One call of the UNet in which some replacements act."""

    def __init__(
        self, patches: Sequence[ReplacementPatch], call: Call, run: Run | None, weights_vary: bool = False
    ) -> None:
        """`weights_vary`: the model's weights are not the same in all calls of the run."""
        self._call, self._run = call, run
        self._weights_vary = weights_vary
        self._rows = {patch: rows for patch in patches if (rows := _rows_of(patch.replacement, call))}
        self._parts = {row: self._part(row) for rows in self._rows.values() for row in rows}
        # Rows can't be told apart outside of a run, which `_part` has said.
        self._found: dict[ReplacementPatch, Replaced] = {p: run.kept(p, Replaced) for p in self._rows} if run else {}
        self._heard: dict[str, tuple[nn.Module, Tensor]] = {}
        self._waiting = {patch for patch in self._rows if self._undecided(patch)}
        self.opened = False
        """Whether this call has opened a gate, so that what was computed before is not what is wanted."""

    def _part(self, row: int) -> Part:
        return Part(self._call.conditioning(row), self._call.picture(row), self._call.area(row))

    def _undecided(self, patch: ReplacementPatch) -> list[int]:
        return [row for row in self._rows[patch] if self._parts[row] not in self._found[patch].decisions]

    @property
    def undecided(self) -> bool:
        """Whether this call has to be looked at before anything is done in it."""
        return bool(self._waiting)

    def settle(self) -> None:
        """What has not been looked at by now waits for the next call."""
        self._waiting.clear()

    def detectors(self) -> list[tuple[str, Hook]]:
        """Hooks that decide what is not decided yet; the last of them to run stops the call if a gate opened."""
        return [(patch.site.module, partial(self._detect, patch)) for patch in self._rows]

    def _detect(self, patch: ReplacementPatch, block_input: Tensor, block_output: Tensor) -> Tensor:
        if patch in self._waiting:
            self._waiting.discard(patch)
            is_open = self._decide(patch, self._undecided(patch), block_input, block_output)
            self.opened |= is_open and self._acts_now(patch)
            if self.opened and not self._waiting:
                raise Stop
        elif self._looks(patch):
            self._see(patch, block_input, block_output)
        return block_output

    def _looks(self, patch: ReplacementPatch) -> bool:
        return self._run is not None and self._run.looking and patch.replacement.look_first

    def _acts_now(self, patch: ReplacementPatch) -> bool:
        return patch.replacement.when.acts_at(self._call.sigma) and not self._looks(patch)

    def _decide(self, patch: ReplacementPatch, rows: list[int], block_input: Tensor, block_output: Tensor) -> bool:
        """Whether a gate opened."""
        replacement, found = patch.replacement, self._found[patch]
        with torch.no_grad():
            detection = detect(replacement, self._codes(patch, rows, block_input, block_output), self._call.sigma)
            limits = self._limits(patch, rows, block_output)
            masks = token_mask(replacement, detection, limits, self._answer(patch, rows, *block_output.shape[-2:]))
            free = may_change(masks, limits)
        shares, is_open = detection.share.tolist(), (masks > 0).any(-1).any(-1).tolist()
        strength = replacement.strength_at(self._call.sigma)
        for place, row in enumerate(rows):
            weights = masks[place] if is_open[place] else None
            found.decisions[self._parts[row]] = Decision(shares[place], weights, strength, free[place], is_open[place])
        found.touched.clear()  # it may hold such rows as nothing was known of
        return any(is_open)

    def _see(self, patch: ReplacementPatch, block_input: Tensor, block_output: Tensor) -> None:
        """What is replaced, and where, is what this call says."""
        rows, decisions = self._rows[patch], self._found[patch].decisions
        before = [self._decision(patch, row) for row in rows]
        with torch.no_grad():
            found = torch.tensor([own.found for own in before], device=block_output.device)
            codes = self._codes(patch, rows, block_input, block_output)
            detection = see(patch.replacement, codes, self._call.sigma, found)
            limits = self._limits(patch, rows, block_output)
            masks = token_mask(patch.replacement, detection, limits)
            free = may_change(masks, limits)
        seen = (masks > 0).any(-1).any(-1).tolist()
        for place, (row, share) in enumerate(zip(rows, detection.share.tolist(), strict=True)):
            own = before[place]
            if seen[place]:
                own = own._replace(weights=masks[place], free=free[place])
            elif not own.found:
                own = own._replace(weights=None)
            decisions[self._parts[row]] = own if own.found else own._replace(share=share)

    def _codes(
        self, patch: ReplacementPatch, rows: list[int], block_input: Tensor, block_output: Tensor
    ) -> SparseCodes:
        tokens = (x[rows].permute(0, 2, 3, 1) for x in (block_input, block_output))  # BCHW -> BHWC
        return patch.sae.module.encode(read_tokens(patch.site.kind, *tokens))

    def _limits(self, patch: ReplacementPatch, rows: list[int], block_output: Tensor) -> Tensor | None:
        height, width = block_output.shape[-2:]
        return row_weights(patch.replacement.region, self._call, rows, height, width, block_output.device)

    def layers(self, unet: nn.Module) -> list[tuple[str, Hook]]:
        """Hooks for the cross-attention layers of `unet`; none where no gate is open."""
        acting = [patch for patch in self._rows if self._acts(patch)]
        listening = any(patch.replacement.place != "sae" for patch in self._waiting)
        if not (acting or listening) or self._run is None:
            return []
        layers = self._run.kept((layers_of, unet), partial(layers_of, unet))
        hooks: list[tuple[str, Hook]] = []
        if listening:
            hooks += [(name, partial(self._listen, name, attn)) for name, attn in layers.items()]
        return hooks + [(name, partial(self._replace, p, name, attn)) for name, attn in layers.items() for p in acting]

    def _listen(self, name: str, attn: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """`x` is [B, h, w, d], and not copied: whether it is needed shows when the hookpoint is reached."""
        if x.ndim == 4:
            self._heard[name] = attn, x
        return output

    def _answer(self, patch: ReplacementPatch, rows: list[int], height: int, width: int) -> Tensor | None:
        """How much the layers so far answer to the concept and not to what stands instead: [len(rows), h, w]."""
        if patch.replacement.place == "sae":
            return None
        sizes = []
        for name, (attn, x) in self._heard.items():
            tokens = x[rows]
            instead, concept = self._texts(patch, name, attn, tokens)
            difference = attention_difference(attn, tokens.flatten(0, 2), concept, instead)
            sizes.append(answer_size(difference).view(tokens.shape[:3]))
        return answer_map(sizes, height, width)

    def _acts(self, patch: ReplacementPatch) -> bool:
        return self._acts_now(patch) and any(
            self._decision(patch, row).weights is not None for row in self._rows[patch]
        )

    def _decision(self, patch: ReplacementPatch, row: int) -> Decision:
        return self._found[patch].decisions.get(self._parts[row], Decision(0.0, None))

    def _replace(self, patch: ReplacementPatch, name: str, attn: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """`x` is [B, h, w, d], `output` [B, t, d]."""
        if len(x) != len(self._call.rows) or x.shape[1:-1].numel() != output.shape[1] or x.ndim != 4:
            raise SaeuronError(
                "Another custom node changes the number of rows or tokens inside the UNet, so it can't be told where "
                "the concept is. Remove that node or Replace Concept from the graph."
            )
        touched = self._touched(patch, len(x), (x.shape[1], x.shape[2]), x.device)
        if touched is None:
            return output
        x = x.flatten(1, 2)
        with torch.no_grad():  # they are kept, and a graph is good for one use only
            instead, concept = self._texts(patch, name, attn, x)
        return replace_tokens(attn, x, output, touched, instead, concept)

    def _touched(
        self, patch: ReplacementPatch, batch: int, size: tuple[int, int], device: torch.device
    ) -> Touched | None:
        """Kept for the run: looked up anew for every layer and step, a GPU would be waited for each time."""
        found = self._found[patch]
        parts = tuple((row, self._parts[row]) for row in self._rows[patch])
        key = (parts, batch, size)
        if key not in found.touched:
            weights = torch.zeros(batch, *size, device=device)
            for row, _ in parts:
                decision = self._decision(patch, row)
                if (own := decision.weights) is not None:
                    weights[row] = decision.strength * resize(own.to(device)[None], *size)[0]
            found.touched[key] = touched_tokens(weights)
        return found.touched[key]

    def _texts(self, patch: ReplacementPatch, name: str, attn: nn.Module, x: Tensor) -> tuple[KeysValues, KeysValues]:
        texts = self._found[patch].texts
        if name in texts and not self._weights_vary:
            return texts[name]
        instead, concept = (keys_values(attn, text.to(x)) for text in (patch.instead, patch.concept))
        if not self._weights_vary:
            texts[name] = instead, concept
        return instead, concept


def _rows_of(replacement: Replacement, call: Call) -> list[int]:
    """The rows in which `replacement` acts, now or later: where it is not known yet, the concept is looked for."""
    if not replacement.strength or call.sigma < replacement.when.sigma_end:
        return []
    return [row for row in range(len(call.rows)) if call.role(row) == POSITIVE]
