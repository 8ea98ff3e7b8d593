"""``python -m tools.evaluation.scenes``: pictures of two things, of which one is removed, into docs/results.

Only scenes count in which the model as it is drew both, each on its own half. What the columns mean is said in
`saeuron.evaluation.scenes`. It can be stopped and started again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from saeuron.evaluation import scenes as measures
from saeuron.evaluation.benchmark import Concept
from saeuron.evaluation.halves import HALVES, keep_half
from saeuron.shots import Shot
from tools.host.unpack import REPOSITORY
from tools.miniature.drawings import OBJECTS
from tools.miniature.training import import_host
from tools.pack import pack

from . import scene_report
from .attack_drawing import Artist
from .instead import instead_of, phrase
from .plan import SHORT
from .scene_plan import ScenePrompt, on_half, scene_prompts
from .studio import SIZE, Studio, add_dtype
from .treatment import OFF, Treatment, replace
from .treatments import GUIDED_CFG, Bench, decisive, with_one_setting

PLACES = ("sae", "answer", "both")
COUNT = 8
QUICK = 3, ("cats", "towers"), ("off", scene_report.JUDGED_ROW)
"""Of `make evaluate ARGS=--quick`: scenes asked for, of each of these objects, and rows."""


class Inpainting(NamedTuple):
    """The ceiling: somebody who knows where the target is has its half of the un-edited picture drawn anew."""

    what: str
    """``replacement`` or ``neighbour``: the one thing that the prompt names, on the half where it belongs."""

    def prompt(self, asked: ScenePrompt, scene: measures.Scene, instead: str) -> str:
        if self.what == "replacement":
            return on_half(instead, scene.half, asked.style)
        return on_half(scene.neighbour, measures.OPPOSITE[scene.half], asked.style)


Row = Treatment | Inpainting


class Drawn(NamedTuple):
    pictures: np.ndarray
    """uint8 [N, H, W, 3]."""

    masks: np.ndarray
    """float32 [N, H, W], where something was replaced."""


class Scenes:
    """Figures of rows on the scenes of one target."""

    def __init__(self, studio: Studio, target: str, count: int) -> None:
        self._studio, asked = studio, scene_prompts(target, count)
        self.concept, self.instead = Concept("objects", target), instead_of(Concept("objects", target), "neighbour")
        halves = studio.kept({"halves of": [prompt.shot for prompt in asked]}, lambda: self._halves(asked))
        self._asked = [prompt for prompt, half in zip(asked, halves, strict=True) if half]
        self._scenes = [
            measures.Scene(prompt.target, prompt.neighbour, half)
            for prompt, half in zip(asked, halves, strict=True)
            if half
        ]

    def _halves(self, asked: Sequence[ScenePrompt]) -> list[str | None]:
        """Where the model as it is drew each target; None where it is no scene."""
        seen = self._see(self._draw(OFF, [prompt.shot for prompt in asked]).pictures)
        pairs = zip(seen, asked, strict=True)
        found = [measures.find_scene(each, prompt.target, prompt.neighbour) for each, prompt in pairs]
        return [scene.half if scene else None for scene in found]

    def describe(self) -> list[dict[str, Any]]:
        """The scenes as JSON values, in the order of the figures."""
        return [
            {**scene._asdict(), "style": prompt.style, **prompt.shot._asdict(), "instead": self.instead}
            for prompt, scene in zip(self._asked, self._scenes, strict=True)
        ]

    def figures(self, row: Row) -> dict[str, list[Any]]:
        """Measure -> one value a scene; None where there is none. What was measured before is kept."""
        shots = [prompt.shot for prompt in self._asked]
        own = {**row.key(), "drawn": row.shots(shots)} if isinstance(row, Treatment) else row._asdict()
        key = {"scenes": shots, "instead": self.instead, **own}
        found: dict[str, list[Any]] = self._studio.kept(key, lambda: self._measure(row))
        return found

    def _measure(self, row: Row) -> dict[str, list[Any]]:
        drawn, scenes, embed = self.draw(row), self._scenes, self._studio.part("embed")
        seen = self._see(drawn.pictures)
        where = measures.share_on_half(drawn.masks, scenes)
        return {
            "gone": measures.gone(seen, scenes).tolist(),
            "kept": measures.kept(seen, scenes).tolist(),
            "out": measures.squared_error_outside(drawn.pictures, self._plain, scenes).round(5).tolist(),
            "out_clip": measures.similarity_outside(drawn.pictures, self._plain, scenes, embed).round(4).tolist(),
            "dual": measures.similarity(drawn.pictures, self._alone, embed).round(4).tolist(),
            "swap": measures.stands_there(seen, scenes, [self.instead] * len(scenes)).tolist(),
            "where": [None if np.isnan(share) else round(share, 4) for share in where.tolist()],
        }

    @cached_property
    def _plain(self) -> np.ndarray:
        return self.draw(OFF).pictures

    @cached_property
    def _alone(self) -> np.ndarray:
        return self._draw(OFF, [Shot(prompt.alone, prompt.shot.seed) for prompt in self._asked]).pictures

    def draw(self, row: Row) -> Drawn:
        """The scenes with a row's treatment: the same pictures as its figures are of."""
        if isinstance(row, Inpainting):
            return Drawn(self._inpainted(row), np.zeros((len(self._scenes), SIZE, SIZE), np.float32))
        return self._draw(row, row.shots([prompt.shot for prompt in self._asked]))

    def _inpainted(self, row: Inpainting) -> np.ndarray:
        artist = Artist(self._studio, OFF)
        start = artist.latents([prompt.shot for prompt in self._asked])
        pictures = [
            artist.into_half(row.prompt(asked, scene, self.instead), [asked.shot.seed], latents[None], 0, scene.half)
            for asked, scene, latents in zip(self._asked, self._scenes, start, strict=True)
        ]
        return np.concatenate(pictures)

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
        self._studio.drawn += len(shots)
        return Drawn(pictures, masks)

    def _see(self, pictures: np.ndarray) -> list[dict[str, str]]:
        judge = self._studio.part("halves")
        by_half = {half: judge.classify(keep_half(pictures, half)) for half in HALVES}
        return [{half: by_half[half][number] for half in HALVES} for number in range(len(pictures))]


def rows_of(bench: Bench, scenes: Scenes) -> dict[str, Row]:
    """`with_one_setting`, with every place of replacing, the model as it is with guidance, and the ceiling."""
    concept = scenes.concept
    feature_set = bench.studio.feature_set(concept.name, decisive(concept))
    texts = phrase(concept), phrase(Concept("objects", scenes.instead))
    places = {f"replace, place {place}": Treatment((replace(feature_set, *texts, place),)) for place in PLACES}
    rows: dict[str, Row] = {}
    for name, treatment in with_one_setting(bench, concept).items():
        rows |= places if name == "replace" else {name: treatment}
    rows[f"off, cfg {GUIDED_CFG:g}"] = Treatment(cfg=GUIDED_CFG)
    return rows | {f"inpainting, {what}": Inpainting(what) for what in ("replacement", "neighbour")}


def run(
    work: Path, output: Path, dtype: str, count: int, objects: Sequence[str], only: Sequence[str] | None = None
) -> None:
    """Write scenes.json, .md, .png and .webp into `output`; `only`: these rows, with `scene_report.JUDGED_ROW`."""
    studio = Studio(work / "seen", SHORT, dtype, clock=0)
    bench = Bench(studio, SHORT)
    values: dict[str, dict[str, list[Any]]] = {}
    found: list[dict[str, Any]] = []
    with torch.inference_mode():
        for target in objects:
            scenes = Scenes(studio, target, count)
            described = scenes.describe()
            for name, row in rows_of(bench, scenes).items() if described else ():
                if only is None or name in only:
                    for measure, several in scenes.figures(row).items():
                        values.setdefault(name, {}).setdefault(measure, []).extend(several)
            found += described
            print(f"{target}: {len(described)} of {count} scenes", flush=True)
        document = scene_report.document(dtype, count * len(objects), found, values)
        scene_report.write(output, document)
        shown = {}
        for cell in scene_report.cells(document):
            scenes = Scenes(studio, cell.target, count)
            rows = rows_of(bench, scenes)
            shown[cell] = {n: scenes.draw(rows[n]).pictures for n in scene_report.SHOWN_ROWS if n in values}
        scene_report.write_pictures(output, shown)
    print(f"drew {studio.drawn} pictures; wrote {output}/scenes.json, .md, .png and .webp", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.evaluation.scenes", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="scenes asked for, of each object")
    parser.add_argument("--objects", nargs="+", choices=list(OBJECTS), default=list(OBJECTS))
    parser.add_argument("--work", type=Path, default=REPOSITORY / "output" / "evaluation")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "results")
    add_dtype(parser)
    arguments = parser.parse_args()
    import_host()
    run(arguments.work, arguments.output, arguments.dtype, arguments.count, arguments.objects)


if __name__ == "__main__":
    main()
