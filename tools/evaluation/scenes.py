"""``python -m tools.evaluation.scenes``: pictures of two things, of which one is removed, into docs/results.

Only scenes count in which the model as it is drew both, each on its own half. What the columns mean is said in
`saeuron.evaluation.scenes`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from saeuron.evaluation import scenes as measures
from saeuron.evaluation.benchmark import Concept
from saeuron.evaluation.halves import HALVES, keep_half
from saeuron.evaluation.metrics import bootstrap
from saeuron.shots import Shot
from tools.host.unpack import REPOSITORY
from tools.miniature.drawings import OBJECTS
from tools.miniature.training import import_host
from tools.pack import pack

from .instead import instead_of, phrase
from .plan import SHORT
from .report import table
from .scene_plan import scene_prompts
from .studio import MINIATURE, SIZE, Studio, add_dtype
from .treatment import OFF, Treatment, replace
from .treatments import BETA, GUIDED_CFG, MULTIPLIER, PHI, Bench, decisive, with_one_setting

PLACES = ("sae", "answer", "both")
BOOTSTRAP_SEED = 0


class Drawn(NamedTuple):
    pictures: np.ndarray
    """uint8 [N, H, W, 3]."""

    masks: np.ndarray
    """float32 [N, H, W], where something was replaced."""


class Scenes:
    """Figures of treatments on the scenes of one target."""

    def __init__(self, studio: Studio, target: str, count: int) -> None:
        self._studio, self._asked = studio, scene_prompts(target, count)
        self.concept, self.instead = Concept("objects", target), instead_of(Concept("objects", target), "neighbour")
        self._judge = pack("saeuron.evaluation.classifier").Classifier(MINIATURE / "classifiers" / "halves")
        plain = self._draw(OFF, [prompt.shot for prompt in self._asked])
        found = [
            measures.find_scene(seen, prompt.target, prompt.neighbour)
            for seen, prompt in zip(self._see(plain.pictures), self._asked, strict=True)
        ]
        self.places = [place for place, scene in enumerate(found) if scene is not None]
        self._scenes = [scene for scene in found if scene is not None]
        self._plain = plain.pictures[self.places]

    def figures(self, treatment: Treatment) -> dict[str, list[Any]]:
        """One value a scene of each measure."""
        drawn = self._draw(treatment, treatment.shots([self._asked[place].shot for place in self.places]))
        seen = self._see(drawn.pictures)
        return {
            "gone": measures.gone(seen, self._scenes).tolist(),
            "kept": measures.kept(seen, self._scenes).tolist(),
            "out": measures.squared_error_outside(drawn.pictures, self._plain, self._scenes).tolist(),
            "swap": measures.stands_there(seen, self._scenes, [self.instead] * len(self.places)).tolist(),
            "where": measures.share_on_half(drawn.masks, self._scenes).tolist(),
        }

    def _draw(self, treatment: Treatment, shots: Sequence[Shot]) -> Drawn:
        model, clip, vae = self._studio.part("miniature")
        patched = treatment.model((model, clip, vae))
        sampler = self._studio.sampler(patched, treatment, len(shots))
        replacements = pack("nodes.host.model").attached(patched).replacements
        pictures = np.zeros((len(shots), SIZE, SIZE, 3), np.uint8)
        masks = np.zeros((len(shots), SIZE, SIZE), np.float32)
        for places, latents in sampler.run(patched, shots):
            pictures[places] = pack("nodes.host.pictures").to_pixels(vae.decode(latents))
            if replacements:
                masks[places] = pack("nodes.host.replacement_masks").united_masks(replacements, latents)
        return Drawn(pictures, masks)

    def _see(self, pictures: np.ndarray) -> list[dict[str, str]]:
        by_half = {half: self._judge.classify(keep_half(pictures, half)) for half in HALVES}
        return [{half: by_half[half][number] for half in HALVES} for number in range(len(pictures))]


def treatments(bench: Bench, scenes: Scenes) -> dict[str, Treatment]:
    """`with_one_setting`, with every place of replacing, and the model as it is with guidance."""
    concept = scenes.concept
    feature_set = bench.studio.feature_set(concept.name, decisive(concept))
    texts = phrase(concept), phrase(Concept("objects", scenes.instead))
    places = {f"replace, place {place}": Treatment((replace(feature_set, *texts, place),)) for place in PLACES}
    rows: dict[str, Treatment] = {}
    for name, treatment in with_one_setting(bench, concept).items():
        rows |= places if name == "replace" else {name: treatment}
    return rows | {f"off, cfg {GUIDED_CFG:g}": Treatment(cfg=GUIDED_CFG)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.evaluation.scenes", description=__doc__)
    parser.add_argument("--count", type=int, default=12, help="scenes asked for, of each object")
    parser.add_argument("--objects", nargs="+", choices=list(OBJECTS), default=list(OBJECTS))
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "results")
    add_dtype(parser)
    arguments = parser.parse_args()
    import_host()
    bench = Bench(Studio(REPOSITORY / "output" / "evaluation" / "seen", SHORT, arguments.dtype, clock=0), SHORT)
    values: dict[str, dict[str, list[Any]]] = {}
    asked = 0
    with torch.inference_mode():
        for target in arguments.objects:
            scenes = Scenes(bench.studio, target, arguments.count)
            asked += arguments.count
            for name, treatment in treatments(bench, scenes).items() if scenes.places else ():
                for measure, several in scenes.figures(treatment).items():
                    values.setdefault(name, {}).setdefault(measure, []).extend(several)
            print(f"{target}: {len(scenes.places)} of {arguments.count}", flush=True)
    write(arguments.output, values, asked, arguments.dtype)


def write(folder: Path, values: dict[str, dict[str, list[Any]]], asked: int, dtype: str) -> None:
    rows, summary = [], {}
    for name, own in values.items():
        where = [share for share in own["where"] if share == share]
        gone, kept = (bootstrap(np.array(own[key], float), seed=BOOTSTRAP_SEED) for key in ("gone", "kept"))
        swaps = measures.count(own["swap"])
        summary[name] = {
            "gone": gone._asdict(),
            "kept": kept._asdict(),
            "out": float(np.mean(own["out"])),
            "swaps": swaps,
            "where": float(np.mean(where)) if where else None,
            "acted": len(where),
        }
        shown = [f"{share:.0%}" for share in swaps.values()]
        place = f"{np.mean(where):.0%} of {len(where)}" if where else ""
        rows.append([name, _interval(gone), _interval(kept), f"{np.mean(own['out']):.4f}", *shown, place])
    count = len(next(iter(values.values()))["gone"])
    header = ["Treatment", "Target gone", "Neighbour kept", "Change outside", *measures.SWAPS, "Mask on its half"]
    text = (
        f"# Pictures of two things\n\nWritten by `python -m tools.evaluation.scenes`. Of {asked} held-out prompts for "
        f"two things, {count} were drawn with both, each on its own half; only these count. The columns after *Change "
        "outside* say what stands where the target was. 95 % intervals by bootstrap. "
        f"`exact`, `saeuron-code` and the random features have the multiplier {MULTIPLIER:g}, CASteer beta "
        f"{BETA:g} and NAG phi {PHI:g}.\n\n"
        f"{table(header, rows)}\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenes.md").write_text(text, encoding="utf-8")
    document = {"asked": asked, "scenes": count, "dtype": dtype, "rows": summary}
    (folder / "scenes.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _interval(found: Any) -> str:
    return f"{found.mean:.0%} ({found.low:.0%} to {found.high:.0%})"


if __name__ == "__main__":
    main()
