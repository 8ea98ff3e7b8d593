"""``python -m tools.evaluation.neighbours``: the neighbour of every concept, into neighbours.json.

Of two concepts the mean SAE codes over their prompts to fit are compared, all tokens and steps, at the hookpoint that
decides on their domain; the neighbour is the other one with the largest cosine. To be run again when the miniature or
its SAEs change.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from saeuron.files import write_atomically
from saeuron.miniature.architecture import DECISIVE
from tools.miniature.build_feature_sets import FIT_LISTS, collect, load_sae
from tools.miniature.training import import_host
from tools.pack import pack

from .instead import NEIGHBOURS


def ranked(codes: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Label -> the other labels and the cosines between mean codes [n], the most alike first."""
    labels = list(codes)
    unit = torch.nn.functional.normalize(torch.stack([codes[label] for label in labels]).double(), dim=1)
    found = {}
    for label, row in zip(labels, (unit @ unit.T).tolist(), strict=True):
        others = sorted(zip(row, labels, strict=True), key=lambda own: -own[0])
        found[label] = {other: round(cosine, 4) for cosine, other in others if other != label}
    return found


def measure(miniature: tuple[Any, Any, Any]) -> dict[str, dict[str, Any]]:
    """``neighbours``: domain -> label -> the most alike; ``cosines``: domain -> label -> all others, as `ranked`."""
    found: dict[str, dict[str, Any]] = {"neighbours": {}, "cosines": {}}
    for domain, lists in FIT_LISTS.items():
        statistics = collect(0, miniature, load_sae(DECISIVE[domain]), lists)
        likeness = ranked({name.removeprefix("style-"): s.mean(False)[0] for name, s in statistics.items()})
        found["neighbours"][domain] = {label: next(iter(others)) for label, others in likeness.items()}
        found["cosines"][domain] = likeness
    return found


def main() -> None:
    import_host()
    with torch.inference_mode():
        found = measure(pack("nodes.load").SaeuronLoadMiniature.execute().result)
    write_atomically(NEIGHBOURS, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
