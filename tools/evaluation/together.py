"""Several concepts removed at once, and the tables of the seed notebook."""

from __future__ import annotations

from typing import Any

import numpy as np

from saeuron.cli.reproduce import CONCEPTS, MULTIPLIERS, UA_MULTIPLIERS
from saeuron.evaluation.benchmark import DOMAINS, Concept
from saeuron.evaluation.metrics import cosine_similarity
from tools.miniature.build_feature_sets import HOOKPOINT

from .instead import phrase
from .plan import ALL, TEST, Scale, own_shots, probes
from .studio import Studio
from .treatment import OFF, Treatment, replace, unlearning
from .treatments import Bench, decisive, with_mode

STYLES_TOGETHER = 4


def removed_together(bench: Bench, scale: Scale, multipliers: dict[str, float | None]) -> list[dict[str, Any]]:
    """UA over the removed concepts, IRA and CRA over what is left: chained Unlearn nodes, mode exact, and chained
    Replace Concept nodes, all with the same thing instead.

    The order of a chain does not matter, so removing one after the other and removing all at once are the same.
    """
    rows = []
    objects = [c for c in scale.concepts if c.domain == "objects"]
    styles = [c for c in scale.concepts if c.domain == "styles"]
    groups = [objects[:count] for count in scale.removed_together if count <= len(objects)]
    if len(styles) >= STYLES_TOGETHER:
        groups.append(styles[:STYLES_TOGETHER])
    for group in groups:
        sets = [bench.studio.feature_set(concept.name, decisive(concept)) for concept in group]
        chosen = [float(multipliers[concept.name] or 0.0) for concept in group]
        last = next(c for c in reversed(ALL) if c.domain == group[0].domain and c not in group)
        edits = tuple(replace(own, phrase(concept), phrase(last)) for own, concept in zip(sets, group, strict=True))
        treatments = {"off": OFF, "exact": unlearning(sets, chosen), "replace": Treatment(edits)}
        figures = {name: _together(bench.studio, scale, group, each) for name, each in treatments.items()}
        rows.append({"removed": [concept.name for concept in group], **figures})
    return rows


def _together(studio: Studio, scale: Scale, group: list[Concept], treatment: Treatment) -> dict[str, float]:
    domain, removed = group[0].domain, {concept.label for concept in group}
    other = DOMAINS[1 - DOMAINS.index(domain)]
    asked = [probe for probe in probes(TEST, scale) if probe.labels[domain] not in removed]
    rest = studio.look([probe.shot for probe in asked], treatment)
    unseen = [
        studio.look(own_shots(concept, TEST, scale), treatment).labels[domain] != concept.label for concept in group
    ]
    right = {d: rest.labels[d] == np.array([probe.labels[d] for probe in asked]) for d in DOMAINS}
    return {
        "ua": round(float(np.concatenate(unseen).mean()), 4),
        "ira": round(float(right[domain].mean()), 4),
        "cra": round(float(right[other].mean()), 4),
        "pictures": int(sum(map(len, unseen)) + len(asked)),
    }


def seed_tables(bench: Bench) -> dict[str, Any]:
    """UA and CLIP similarity at the multipliers and the hookpoint of the seed notebook, in its mode and in ours."""
    ua: list[dict[str, Any]] = []
    clip: list[dict[str, Any]] = []
    for name in CONCEPTS:
        concept = Concept("objects", name)
        shots = own_shots(concept, TEST, bench.scale)
        before = bench.studio.look(shots, OFF)
        for mode in ("seed", "exact"):
            for multiplier in MULTIPLIERS:
                seen = bench.studio.look(shots, with_mode(bench.studio, concept, mode, multiplier, HOOKPOINT))
                row = {"concept": name, "mode": mode, "multiplier": multiplier, "pictures": len(shots)}
                if multiplier in UA_MULTIPLIERS:
                    ua.append({**row, "ua": round(float((seen.labels["objects"] != name).mean()), 4)})
                else:
                    similarity = cosine_similarity(before.embeddings, seen.embeddings).mean()
                    clip.append({**row, "clip_similarity": round(float(similarity), 4)})
    return {"unlearning_accuracy": ua, "clip_similarity": clip}
