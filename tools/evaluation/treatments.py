"""The treatments that are compared: three modes, rivals, and the controls without which their figures mean little."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from saeuron.evaluation.benchmark import Concept, Figures, choose_multiplier, judge
from saeuron.miniature.architecture import DECISIVE
from saeuron.shots import Shot
from tools.miniature.build_feature_sets import HOOKPOINT, STATISTICS, folder_of
from tools.pack import pack

from .instead import WAYS, by_hand, instead_of, phrase
from .plan import TEST, VALIDATION, Scale, own_shots, pair_shots, probes
from .rivals.casteer import Vectors, casteer, fit
from .rivals.nag import nag
from .studio import Studio
from .treatment import OFF, Edit, Parts, Treatment, forget, replace, unlearning

MODES = ("exact", "seed", "saeuron-code")
GUIDED_CFG = 2.0
RANDOM_SEED = 0

MULTIPLIER, BETA, PHI = -20.0, 2.0, 5.0
"""Of `with_one_setting`."""


def decisive(concept: Concept) -> str:
    """The hookpoint that decides what is drawn, as far as one does."""
    return DECISIVE[concept.domain]


def with_mode(studio: Studio, concept: Concept, mode: str, multiplier: float, hookpoint: str) -> Treatment:
    return unlearning((studio.feature_set(concept.name, hookpoint),), (multiplier,), mode)


def nothing_selected(studio: Studio, concept: Concept, mode: str) -> Treatment:
    """Reconstruct-only: the mode's write-back with no feature changed."""
    feature_set = studio.feature_set(concept.name, decisive(concept))
    step = pack("saeuron.features.feature_set").FeatureStep
    steps = tuple(step(s.sigma, ()) for s in feature_set.steps)
    nothing = dataclasses.replace(feature_set, concept="nothing", steps=steps, sampling={}, selection={}, picture=None)
    return unlearning((nothing,), (0.0,), mode)


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
    steps = (library.FeatureStep(None, features),)
    random = dataclasses.replace(feature_set, concept="random features", steps=steps, picture=None)
    return unlearning((random,), (multiplier,))


def negative_prompt(concept: Concept) -> Treatment:
    """What a person without this pack would do."""
    return Treatment(cfg=GUIDED_CFG, negative=phrase(concept))


def prompt_by_hand(concept: Concept, label: str) -> Treatment:
    """The ceiling: the prompt itself asks for `label` instead, at the same seed. No edit, and no way to enforce it."""
    return Treatment(rewrite=partial(by_hand, concept=concept, label=label))


class Row(NamedTuple):
    """A treatment of one concept."""

    figures: Figures
    """On the test split."""

    multiplier: float | None = None
    """Of Unlearn, or a rival's strength, chosen on the validation split; None where there is none to choose."""


class Bench:
    """Figures of any treatment of any concept, on the test or the validation split."""

    def __init__(self, studio: Studio, scale: Scale) -> None:
        self.studio, self.scale = studio, scale
        self._probes = {split: probes(split, scale) for split in (TEST, VALIDATION)}
        self._vectors: dict[Concept, Vectors] = {}

    def figures(
        self,
        concept: Concept,
        treatment: Treatment,
        split: str = TEST,
        before: Treatment = OFF,
        instead: str | None = None,
    ) -> Figures:
        """`before` is what similarity and identity compare with; `instead` is the label of what is to stand there."""
        asked = self._probes[split]
        own = own_shots(concept, split, self.scale)
        shots = [probe.shot for probe in asked]
        own_sight, probe_sight = self.studio.look(own, treatment), self.studio.look(shots, treatment)
        plain = self.studio.look(own, before), self.studio.look(shots, before)
        return judge(concept, own_sight, probe_sight, asked, plain, instead)

    def chosen(self, concept: Concept, strengths: Sequence[float], treatment: Callable[[float], Treatment]) -> Row:
        """The figures of `treatment` with the one of `strengths` that is the best on the validation split."""
        best = choose_multiplier(strengths, lambda m: self.figures(concept, treatment(m), VALIDATION))
        return Row(self.figures(concept, treatment(best)), best)

    def rows(self, concept: Concept) -> dict[str, Row]:
        """Treatment -> its row. Modes and controls are at the hookpoint that decides, the modes also at the published
        one."""
        rows = {"off": Row(self.figures(concept, OFF))}
        for group in (self._modes, self._replacing, self._rivals, self._in_words):
            rows |= group(concept)
        return rows | self._controls(concept, rows["exact"].multiplier or 0.0)

    def _modes(self, concept: Concept) -> dict[str, Row]:
        rows = {}
        for hookpoint, where in ((decisive(concept), ""), (HOOKPOINT, f", {HOOKPOINT}")):
            published = hookpoint == HOOKPOINT
            if published and not self.scale.published_multipliers:
                continue
            tried = self.scale.published_multipliers if published else self.scale.multipliers[concept.domain]
            for mode in MODES if self.scale.thorough else MODES[:1]:
                treatment = partial(_at_multiplier, self.studio, concept, mode, hookpoint)
                rows[mode + where] = self.chosen(concept, tried, treatment)
        return rows

    def _replacing(self, concept: Concept) -> dict[str, Row]:
        """Methods that put something there instead; one setting for all concepts, so nothing is chosen."""
        feature_set = self.studio.feature_set(concept.name, decisive(concept))
        rows = {}
        for way in WAYS:
            label = instead_of(concept, way)
            texts = phrase(concept), phrase(Concept(concept.domain, label))
            treatment = Treatment((replace(feature_set, *texts),))
            rows[f"replace, {way}"] = Row(self.figures(concept, treatment, instead=label))
            if way == WAYS[0] and concept.domain == "objects":
                looking = Treatment((replace(feature_set, *texts, look_first=True),))
                rows[f"replace, {way}, look first"] = Row(self.figures(concept, looking, instead=label))
        rows["forget"] = Row(self.figures(concept, Treatment((forget(decisive(concept), phrase(concept)),))))
        return rows

    def _rivals(self, concept: Concept) -> dict[str, Row]:
        """Methods of others, at cfg 1 and without an SAE."""
        return {
            "CASteer": self.chosen(concept, self.scale.betas, lambda beta: self.casteer(concept, beta)),
            "NAG": self.chosen(concept, self.scale.phis, lambda phi: Treatment((nag(phrase(concept), phi),))),
        }

    def casteer(self, concept: Concept, beta: float) -> Treatment:
        pairs = pair_shots(concept, self.scale)

        def vectors(parts: Parts) -> Vectors:
            if concept not in self._vectors:
                self._vectors[concept] = fit(parts, *pairs, self._draw_with)
            return self._vectors[concept]

        return Treatment((casteer({"pairs": pairs}, vectors, beta),))

    def _draw_with(self, model: Any, shots: Sequence[Shot]) -> None:
        self.studio.draw(shots, Treatment((Edit({}, lambda _: model),)))

    def _in_words(self, concept: Concept) -> dict[str, Row]:
        """What can be done with words alone."""
        rows = {}
        for way in WAYS:
            label = instead_of(concept, way)
            rows[f"by hand, {way}"] = Row(self.figures(concept, prompt_by_hand(concept, label), instead=label))
        if not self.scale.thorough:
            return rows
        guided = Treatment(cfg=GUIDED_CFG)
        rows[f"off, cfg {GUIDED_CFG:g}"] = Row(self.figures(concept, guided))
        negative = self.figures(concept, negative_prompt(concept), before=guided)
        rows[f"negative prompt, cfg {GUIDED_CFG:g}"] = Row(negative)
        return rows

    def _controls(self, concept: Concept, multiplier: float) -> dict[str, Row]:
        treatment = random_features(self.studio, concept, multiplier)
        rows = {"random features": Row(self.figures(concept, treatment), multiplier)}
        for mode in MODES[1:] if self.scale.thorough else ():
            rows[f"reconstruct-only, {mode}"] = Row(self.figures(concept, nothing_selected(self.studio, concept, mode)))
        return rows


def _at_multiplier(studio: Studio, concept: Concept, mode: str, hookpoint: str, multiplier: float) -> Treatment:
    return with_mode(studio, concept, mode, multiplier, hookpoint)


def with_one_setting(bench: Bench, concept: Concept) -> dict[str, Treatment]:
    """Those that are compared where nothing is chosen: one setting for all concepts."""
    hookpoint, instead = decisive(concept), instead_of(concept, "neighbour")
    feature_set = bench.studio.feature_set(concept.name, hookpoint)
    texts = phrase(concept), phrase(Concept(concept.domain, instead))
    return {
        "off": OFF,
        "exact": unlearning((feature_set,), (MULTIPLIER,)),
        "saeuron-code": with_mode(bench.studio, concept, "saeuron-code", MULTIPLIER, hookpoint),
        "replace": Treatment((replace(feature_set, *texts),)),
        "replace, look first": Treatment((replace(feature_set, *texts, look_first=True),)),
        "forget": Treatment((forget(hookpoint, phrase(concept)),)),
        "forget, look first": Treatment((forget(hookpoint, phrase(concept), look_first=True),)),
        "CASteer": bench.casteer(concept, BETA),
        "NAG": Treatment((nag(phrase(concept), PHI),)),
        f"negative prompt, cfg {GUIDED_CFG:g}": negative_prompt(concept),
        "random features": random_features(bench.studio, concept, MULTIPLIER),
        "by hand": prompt_by_hand(concept, instead),
    }
