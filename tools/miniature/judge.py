"""Judge what the miniature draws, straight from its checkpoint: one thing, two things, other words, and nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saeuron.evaluation.classifier import Classifier
from saeuron.evaluation.halves import HALVES, NOTHING, keep_half
from saeuron.miniature.loading import PROMPTS_FOLDER

from .captions import ORDERED, UNORDERED, WITHOUT_OBJECT, with_article
from .drawings import OBJECTS, STYLES
from .sample import draw, sheet
from .scenes import ARRANGEMENTS
from .scenes import HALVES as SIDES
from .train_autoencoder import load_autoencoder
from .train_classifiers import JUDGES
from .train_diffusion import Miniature, load_average
from .training import import_host, training_parser
from .words import DESCRIPTIONS, GENERAL, SYNONYMS, TRANSLATIONS

HELD_OUT = PROMPTS_FOLDER / "heldout"


@dataclass(frozen=True)
class PairPrompt:
    text: str
    objects: tuple[str, str]
    style: str
    arrangement: str
    """``across`` or ``stacked`` where the text says so; then `objects` are in that order. Else empty."""


def usual_name(object_name: str) -> str:
    return with_article(OBJECTS[object_name][1][0])


def pair_prompts(count: int, seed: int) -> list[PairPrompt]:
    """Half of them say which thing is where, in any of the ways that captions do."""
    rng = np.random.default_rng([seed, 13])
    prompts = []
    for index in range(count):
        first, second = rng.permutation(list(OBJECTS))[:2]
        style, arrangement = list(STYLES)[index % len(STYLES)], ARRANGEMENTS[index // 2 % 2]
        templates = (ORDERED if index % 2 else UNORDERED)[arrangement]
        said = templates[rng.integers(len(templates))].format(usual_name(first), usual_name(second))
        text = f"{said} in {style} style"
        prompts.append(PairPrompt(text, (str(first), str(second)), style, arrangement if index % 2 else ""))
    return prompts


def on_halves(judge: Classifier, pictures: np.ndarray) -> list[dict[str, str]]:
    """What the judge of halves sees on each half of each picture."""
    found = {half: judge.classify(keep_half(pictures, half)) for half in HALVES}
    return [{half: found[half][index] for half in HALVES} for index in range(len(pictures))]


def arrangement_found(seen: dict[str, str], objects: tuple[str, str]) -> tuple[str, bool] | None:
    """How the two things lie, each on its own half, and whether in this order; None if they don't."""
    for arrangement, sides in SIDES.items():
        pair = tuple(seen[side] for side in sides)
        if pair in (objects, objects[::-1]):
            return arrangement, pair == objects
    return None


class Judging:
    def __init__(self, model: Miniature, autoencoder: Any, judges: dict[str, Classifier], settings: dict[str, Any]):
        self.model, self.autoencoder, self.judges, self.settings = model, autoencoder, judges, settings
        self.sheets: dict[str, np.ndarray] = {}

    def draw(self, texts: Sequence[str]) -> np.ndarray:
        return draw(self.model, self.autoencoder, texts, **self.settings)

    def shares(self, judge: str, texts: Sequence[str], asked: Sequence[str], kept: str = "") -> dict[str, Any]:
        """Mean and lowest share of right answers over what was asked for."""
        pictures = self.draw(texts)
        if kept:
            self.sheets[kept] = pictures
        right = np.array(self.judges[judge].classify(pictures)) == np.array(asked)
        each = {name: float(right[np.array(asked) == name].mean()) for name in dict.fromkeys(asked)}
        lowest = min(each, key=lambda name: each[name])
        return {"mean": float(np.mean(list(each.values()))), "lowest": [lowest, each[lowest]], "pictures": len(texts)}

    def single(self, per_cell: int) -> dict[str, Any]:
        cells = [(o, s) for o in OBJECTS for s in STYLES] * per_cell
        texts = [f"{usual_name(o)} in {s} style" for o, s in cells]
        objects = self.shares("objects", texts, [o for o, _ in cells], "single")
        return {"objects": objects, "styles": self.shares("styles", texts, [s for _, s in cells])}

    def held_out(self) -> dict[str, Any]:
        """The prompts in words that are partly not the captions'."""
        figures = {}
        for judge, names in (("objects", OBJECTS), ("styles", [f"style-{style}" for style in STYLES])):
            prompts = [(name, line) for name in names for line in (HELD_OUT / f"{name}.txt").read_text().splitlines()]
            prompts = [(name, line) for name, line in prompts if line and not line.startswith("#")]
            asked = [name.removeprefix("style-") for name, _ in prompts]
            figures[judge] = self.shares(judge, [line for _, line in prompts], asked)
        return figures

    def pairs(self, count: int, seed: int) -> dict[str, Any]:
        prompts = pair_prompts(count, seed)
        pictures = self.draw([prompt.text for prompt in prompts])
        self.sheets["pairs"] = pictures[:60]
        seen = on_halves(self.judges["halves"], pictures)
        styles = self.judges["styles"].classify(pictures)
        found = [arrangement_found(s, p.objects) for s, p in zip(seen, prompts, strict=True)]
        ordered = [(f, p) for f, p in zip(found, prompts, strict=True) if p.arrangement]
        return {
            "both_right": float(np.mean([f is not None for f in found])),
            "both_right_no_side_named": float(np.mean([f is not None for f in found[::2]])),
            "both_right_side_named": float(np.mean([f is not None for f, _ in ordered])),
            "on_the_side_named": float(np.mean([f == (p.arrangement, True) for f, p in ordered])),
            "style": float(np.mean([s == p.style for s, p in zip(styles, prompts, strict=True)])),
            "pictures": count,
            "missed": [p.text for f, p in zip(found, prompts, strict=True) if f is None][:20],
        }

    def words(self, repeats: int) -> dict[str, Any]:
        """Of each kind of other words, how often the picture is one of what the word may stand for."""
        tables: dict[str, dict[str, tuple[str, ...]]] = {
            "synonyms": {with_article(word): (name,) for name, words in SYNONYMS.items() for word in words},
            "translations": {with_article(word): (name,) for name, words in TRANSLATIONS.items() for word in words},
            "descriptions": {text: (name,) for name, texts in DESCRIPTIONS.items() for text in texts},
            "general": GENERAL,
        }
        figures = {}
        for kind, table in tables.items():
            texts = [text for text in table for _ in range(repeats)]
            found = self.judges["objects"].classify(self.draw(texts))
            right = np.array([f in table[text] for f, text in zip(found, texts, strict=True)]).reshape(-1, repeats)
            bad = {text: float(r.mean()) for text, r in zip(table, right, strict=True) if r.mean() < 0.75}
            figures[kind] = {"mean": float(right.mean()), "pictures": len(texts), "below_three_quarters": bad}
        return figures

    def nothing(self, repeats: int) -> dict[str, Any]:
        known = [text for text in dict.fromkeys(WITHOUT_OBJECT) if "{" not in text]
        others = ["a picture on a plain background", "nothing on a blue background", "a zebra", "a helicopter"]
        texts = [text for text in [*known, *others] for _ in range(repeats)]
        pictures = self.draw(texts)
        self.sheets["nothing"] = pictures[:: max(1, repeats // 2)]
        empty = [set(seen.values()) == {NOTHING} for seen in on_halves(self.judges["halves"], pictures)]
        each = dict(zip([*known, *others], np.array(empty).reshape(-1, repeats).mean(1).tolist(), strict=True))
        return {"mean": float(np.mean(empty)), "pictures": len(texts), "each": each}


def load_judges(folder: Path, device: torch.device) -> dict[str, Classifier]:
    judges = {name: Classifier(folder / name) for name in JUDGES}
    for judge in judges.values():
        judge.module.to(device)
    return judges


def judge(work: Path, classifiers: Path, scale: int, steps: int, cfg: float, seed: int, device: torch.device) -> None:
    model, trained = load_average(work, device)
    judges = load_judges(classifiers, device)
    judging = Judging(model, load_autoencoder(work, device), judges, {"steps": steps, "cfg": cfg, "seed": seed})
    figures = {
        "step": trained,
        "sampling_steps": steps,
        "cfg": cfg,
        "single": judging.single(scale),
        "held_out": judging.held_out(),
        "pairs": judging.pairs(100 * scale, seed),
        "words": judging.words(scale),
        "nothing": judging.nothing(2 * scale),
    }
    print(json.dumps(figures, indent=1), flush=True)
    (work / f"figures-{steps}-{cfg:g}.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name, pictures in judging.sheets.items():
        sheet(pictures[:100], 10, work / f"sheet-{name}-{steps}-{cfg:g}.png")


def main() -> None:
    parser = training_parser(__doc__, seed=0)
    parser.add_argument("--classifiers", type=Path, default=Path("saeuron/miniature/classifiers"))
    parser.add_argument("--scale", type=int, default=8, help="pictures of each object in each style, and so on")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--cfg", type=float, default=1.0)
    a = parser.parse_args()
    import_host()
    judge(a.work, a.classifiers, a.scale, a.steps, a.cfg, a.seed, a.device)


if __name__ == "__main__":
    main()
