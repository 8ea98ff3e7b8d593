"""Edits of all kinds at one hookpoint in one call of the UNet, for the host and for the reference pipeline alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from torch import Tensor

from ..sae.model import SparseAutoencoder
from .call import Call
from .intervention import Intervention
from .steering import Steering

Edit = Intervention | Steering


# group, the block's output before and after the edits of that group
Watch = Callable[[Hashable, Tensor, Tensor], None]


def apply_edits(
    sae: SparseAutoencoder,
    kind: str,
    edits: Sequence[Edit],
    call: Call,
    block_input: Tensor,
    block_output: Tensor,
    watch: Watch | None = None,
) -> Tensor:
    """The block's output [B, H, W, d] after `edits`, whose features are those of `sae`, which reads `kind`.

    Edits of the same `group` are done as one, the groups follow each other. Steering comes last, wherever its node
    stands in the chain: interventions read what the model itself computes and do not take away what was added on
    purpose. Where nothing changes, `block_output` itself is returned.
    Errors: `SaeuronError` as the edits raise it, or if they need to know about the rows what `call` does not tell.
    """
    groups: dict[Hashable, list[Edit]] = {}
    for edit in sorted(edits, key=lambda edit: edit.last):
        groups.setdefault(edit.group, []).append(edit)
    edited = block_output
    for name, group in groups.items():
        before = edited
        edited = _apply_group(sae, kind, group, call, block_input, before)
        if watch is not None:
            watch(name, before, edited)
    return edited


def _apply_group(
    sae: SparseAutoencoder, kind: str, group: Sequence[Edit], call: Call, block_input: Tensor, block_output: Tensor
) -> Tensor:
    edited = block_output
    for rows, together in _rows_alike(group, call):
        everything = len(rows) == len(block_output)
        before = edited if everything else edited[rows]
        entering = block_input if everything else block_input[rows]
        # All of a group are of one class.
        apply_together: Any = type(together[0]).apply_together
        after: Tensor = apply_together(together, sae, kind, call, rows, entering, before)
        if after is before:
            continue
        if everything:
            edited = after
        else:
            edited = edited.clone() if edited is block_output else edited
            edited[rows] = after
    return edited


def _rows_alike(edits: Sequence[Edit], call: Call) -> Iterator[tuple[list[int], list[Edit]]]:
    """Rows of `call` that get the same ones of `edits`, with these; rows that get none are left out."""
    own: dict[int, list[int]] = {}
    for number, edit in enumerate(edits):
        for row in edit.when.rows(call):
            own.setdefault(row, []).append(number)
    alike: dict[tuple[int, ...], list[int]] = {}
    for row in sorted(own):
        alike.setdefault(tuple(own[row]), []).append(row)
    for chosen, rows in alike.items():
        yield rows, [edits[number] for number in chosen]
