"""The treatments that are compared: three modes, and the controls without which their figures mean little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saeuron.evaluation.benchmark import Concept, Figures, choose_multiplier, judge
from saeuron.miniature.architecture import DECISIVE
from tools.miniature.build_feature_sets import HOOKPOINT, STATISTICS, folder_of
from tools.pack import pack

from .plan import TEST, VALIDATION, Scale, own_shots, probes
from .studio import OFF, Studio, Treatment

MODES = ("exact", "seed", "saeuron-code")
GUIDED_CFG = 2.0
RANDOM_SEED = 0


def decisive(concept: Concept) -> str:
    """The hookpoint that decides what is drawn, as far as one does."""
    return DECISIVE[concept.domain]


def with_mode(studio: Studio, concept: Concept, mode: str, multiplier: float, hookpoint: str) -> Treatment:
    return Treatment((studio.feature_set(concept.name, hookpoint),), (multiplier,), mode)


def nothing_selected(studio: Studio, concept: Concept, mode: str) -> Treatment:
    """Reconstruct-only: the mode's write-back with no feature changed."""
    feature_set = studio.feature_set(concept.name, decisive(concept))
    step = pack("saeuron.features.feature_set").FeatureStep
    steps = tuple(step(s.sigma, ()) for s in feature_set.steps)
    return Treatment((replace(feature_set, concept="nothing", steps=steps, sampling={}, selection={}),), (0.0,), mode)


def random_features(studio: Studio, concept: Concept, multiplier: float) -> Treatment:
    """As many features as the concept's, drawn from those that are neither dead nor overactive, with own means."""
    feature_set = studio.feature_set(concept.name, decisive(concept))
    library = pack("saeuron.features.feature_set")
    all_statistics = pack("saeuron.features.statistics").ActivationStatistics
    statistics = all_statistics.load(folder_of(decisive(concept)) / STATISTICS)
    rate, mean = statistics.firing_rate("image", False)[0], statistics.mean(False)[0]
    selected = {feature.index for step in feature_set.steps for feature in step.features}
    alive = [i for i in ((rate >= 0.01) & (rate <= 0.99)).nonzero().flatten().tolist() if i not in selected]
    rng = np.random.default_rng([RANDOM_SEED, *concept.name.encode()])
    drawn = sorted(int(i) for i in rng.choice(alive, size=min(len(selected), len(alive)), replace=False))
    features = tuple(library.Feature(i, mean_concept=float(mean[i]), mean_all=float(mean[i])) for i in drawn)
    random = replace(feature_set, concept="random features", steps=(library.FeatureStep(None, features),))
    return Treatment((random,), (multiplier,))


def negative_prompt(concept: Concept) -> Treatment:
    """What a person without this pack would do."""
    name = concept.label if concept.domain == "objects" else f"{concept.label} style"
    return Treatment(cfg=GUIDED_CFG, negative=name)


class Bench:
    """Figures of any treatment of any concept, on the test or the validation split."""

    def __init__(self, studio: Studio, scale: Scale) -> None:
        self.studio, self.scale = studio, scale
        self._probes = {split: probes(split, scale) for split in (TEST, VALIDATION)}

    def figures(self, concept: Concept, treatment: Treatment, split: str = TEST, before: Treatment = OFF) -> Figures:
        """`before` is what CLIP similarity compares with."""
        asked = self._probes[split]
        own = own_shots(concept, split, self.scale)
        shots = [probe.shot for probe in asked]
        own_sight, probe_sight = self.studio.look(own, treatment), self.studio.look(shots, treatment)
        plain = self.studio.look(own, before), self.studio.look(shots, before)
        return judge(concept, own_sight, probe_sight, asked, plain)

    def chosen_multiplier(self, concept: Concept, mode: str, hookpoint: str) -> float:
        """The best of the scale's on the validation split."""
        published = hookpoint == HOOKPOINT
        return choose_multiplier(
            self.scale.published_multipliers if published else self.scale.multipliers[concept.domain],
            lambda m: self.figures(concept, with_mode(self.studio, concept, mode, m, hookpoint), VALIDATION),
        )

    def rows(self, concept: Concept) -> dict[str, tuple[Figures, float | None]]:
        """Treatment -> figures on the test split, and its multiplier where it has one.

        Modes and controls are at the hookpoint that decides, and the modes at the published one, too.
        """
        rows: dict[str, tuple[Figures, float | None]] = {"off": (self.figures(concept, OFF), None)}
        for hookpoint, where in ((decisive(concept), ""), (HOOKPOINT, f", {HOOKPOINT}")):
            for mode in MODES:
                m = self.chosen_multiplier(concept, mode, hookpoint)
                rows[mode + where] = self.figures(concept, with_mode(self.studio, concept, mode, m, hookpoint)), m
        m = rows["exact"][1] or 0.0
        rows["random features"] = self.figures(concept, random_features(self.studio, concept, m)), m
        for mode in MODES[1:]:
            treatment = nothing_selected(self.studio, concept, mode)
            rows[f"reconstruct-only, {mode}"] = self.figures(concept, treatment), None
        guided = Treatment(cfg=GUIDED_CFG)
        rows[f"off, cfg {GUIDED_CFG:g}"] = self.figures(concept, guided), None
        negative = self.figures(concept, negative_prompt(concept), before=guided)
        rows[f"negative prompt, cfg {GUIDED_CFG:g}"] = negative, None
        return rows
