"""Replacements on a MODEL: detection at a run's first call, the edit in every cross-attention layer after it.

The first call is run unedited until the last hookpoint has been read. If a picture's gate opened it is stopped there
and run again with the edit; otherwise it just goes on. What was found is kept for the rest of the run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...saeuron.edits.call import Area, Call
from ...saeuron.edits.cross_attention import KeysValues, keys_values
from ...saeuron.edits.masks import resize
from ...saeuron.edits.replace import Replacement, Touched, detect, replace_tokens, token_mask, touched_tokens
from ...saeuron.edits.where import row_weights
from ...saeuron.errors import SaeuronError
from ...saeuron.figures.tables import replaced_table
from ...saeuron.sae.model import read_tokens
from .hook import Hook, run_hooks
from .replacement_masks import keep_masks
from .runs import Preview, Run
from .sockets import HostedSAE
from .unet import Site

QUERY = "saeuron_query"  # where a block keeps what its cross-attention layer was given


@dataclass(frozen=True, eq=False)
class ReplacementPatch:
    """One replacement, where its SAE reads, and the two texts, each [1, s, c] as CLIP gives them."""

    site: Site
    sae: HostedSAE
    replacement: Replacement
    concept: Tensor
    instead: Tensor
    preview: Preview | None = None


def text_of(conditioning: Any, name: str) -> Tensor:
    """The encoded text [1, s, c] of a CONDITIONING that is a single prompt. Errors: `SaeuronError` for others."""
    if len(conditioning) != 1 or conditioning[0][0].shape[0] != 1:
        raise SaeuronError(f"{name!r} holds {len(conditioning)} prompts; connect a CLIP Text Encode with a short text.")
    text: Tensor = conditioning[0][0]
    return text


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
    if patch.preview is not None:
        rows = [
            (part.picture, part.conditioning, decision.share, decision.weights is not None)
            for part, decision in decisions.items()
        ]
        patch.preview.show(run, replaced_table(rows))


class Stop(Exception):
    """Ends a call of the UNet that is to be run again with the edit."""


def layers_of(unet: nn.Module) -> dict[str, nn.Module]:
    """The cross-attention layers of the host's UNet by path, in the order in which they run."""
    return {name: module for name, module in unet.named_modules() if name.endswith(".attn2")}


class ReplacingCall:
    """One call of the UNet in which some replacements act."""

    def __init__(self, patches: Sequence[ReplacementPatch], call: Call, run: Run | None) -> None:
        self._call = call
        self._rows = {patch: patch.replacement.when.rows(call) for patch in patches if patch.replacement.strength}
        self._rows = {patch: rows for patch, rows in self._rows.items() if rows}
        self._parts = {row: self._part(row) for rows in self._rows.values() for row in rows}
        # Rows can't be told apart outside of a run, which `_part` has said.
        self._found: dict[ReplacementPatch, Replaced] = {p: run.kept(p, Replaced) for p in self._rows} if run else {}

    def _part(self, row: int) -> Part:
        return Part(self._call.conditioning(row), self._call.picture(row), self._call.area(row))

    def _undecided(self, patch: ReplacementPatch) -> list[int]:
        return [row for row in self._rows[patch] if self._parts[row] not in self._found[patch].decisions]

    def detectors(self) -> list[tuple[str, Hook]]:
        """Hooks that decide what is not decided yet; the last of them to run stops the call if a gate opened."""
        waiting = {patch for patch in self._rows if self._undecided(patch)}
        opened: list[bool] = []
        return [(patch.site.module, partial(self._detect, patch, waiting, opened)) for patch in list(waiting)]

    def _detect(
        self,
        patch: ReplacementPatch,
        waiting: set[ReplacementPatch],
        opened: list[bool],
        block_input: Tensor,
        block_output: Tensor,
    ) -> Tensor:
        rows, replacement = self._undecided(patch), patch.replacement
        with torch.no_grad():
            tokens = (x[rows].permute(0, 2, 3, 1) for x in (block_input, block_output))  # BCHW -> BHWC
            codes = patch.sae.module.encode(read_tokens(patch.site.kind, *tokens))
            found = detect(replacement, codes, self._call.sigma)
            height, width = block_output.shape[-2:]
            limits = row_weights(replacement.region, self._call, rows, height, width, block_output.device)
            masks = token_mask(replacement, found, limits)
        shares, is_open = found.share.tolist(), (masks > 0).any(-1).any(-1).tolist()
        for place, row in enumerate(rows):
            decision = Decision(shares[place], masks[place] if is_open[place] else None)
            self._found[patch].decisions[self._parts[row]] = decision
        opened += is_open
        waiting.discard(patch)
        if not waiting and any(opened):
            raise Stop
        return block_output

    def layers(self, unet: nn.Module, latent: tuple[int, int]) -> list[tuple[str, Hook]]:
        """Hooks for the cross-attention layers of `unet` on latents of this size; none where no gate is open."""
        acting = [
            patch
            for patch, rows in self._rows.items()
            if any(self._decision(patch, row).weights is not None for row in rows)
        ]
        return [
            (path, partial(self._replace, patch, path, attn, latent))
            for path, attn in (layers_of(unet).items() if acting else ())
            for patch in acting
        ]

    def _decision(self, patch: ReplacementPatch, row: int) -> Decision:
        return self._found[patch].decisions.get(self._parts[row], Decision(0.0, None))

    def _replace(
        self, patch: ReplacementPatch, path: str, attn: nn.Module, latent: tuple[int, int], x: Tensor, output: Tensor
    ) -> Tensor:
        touched = self._touched(patch, len(x), map_size(x.shape[1], latent), x.device)
        if touched is None:
            return output
        with torch.no_grad():
            instead, concept = self._texts(patch, path, attn, x)
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
                if (own := self._decision(patch, row).weights) is not None:
                    weights[row] = resize(own.to(device)[None], *size)[0]
            found.touched[key] = touched_tokens(weights * patch.replacement.strength)
        return found.touched[key]

    def _texts(self, patch: ReplacementPatch, path: str, attn: nn.Module, x: Tensor) -> tuple[KeysValues, KeysValues]:
        texts = self._found[patch].texts
        if path not in texts:
            instead, concept = (keys_values(attn, text.to(x)) for text in (patch.instead, patch.concept))
            texts[path] = instead, concept
        return texts[path]


def map_size(tokens: int, latent: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a layer's map of so many tokens, of latents of this size, which it halves some times."""
    height, width = latent
    while height * width > tokens:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != tokens:  # another pack has shrunk the map in its own way
        height = max(1, round((tokens * latent[0] / latent[1]) ** 0.5))
        while tokens % height:
            height -= 1
        width = tokens // height
    return height, width


def with_layer_patches(options: dict[str, Any]) -> dict[str, Any]:
    """The host's ``transformer_options`` with patches that let hooks act on what cross-attention layers give.

    Patches and not hooks on the modules: other packs replace what a layer does (IPAdapter), and split and join its rows
    (attention couple). Ours see the layer's input before all of theirs and its output after all of theirs.
    """
    patches = dict(options.get("patches") or {})
    patches["attn2_patch"] = [_keep_query, *patches.get("attn2_patch", ())]
    patches["attn2_output_patch"] = [*patches.get("attn2_output_patch", ()), _act_on_output]
    return {**options, "patches": patches}


def _keep_query(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    extra[QUERY] = n
    return n, context, value


def _act_on_output(output: Tensor, extra: dict[str, Any]) -> Tensor:
    side, number = extra["block"]
    blocks = "middle_block.1" if side == "middle" else f"{side}_blocks.{number}.1"
    return run_hooks(extra.pop(QUERY), output, f"{blocks}.transformer_blocks.{extra['block_index']}.attn2")
