"""The main job through a real ComfyUI: cats and towers are removed from the miniature, the rest stays.

``make demo`` starts a server with the pack, runs ``example_workflows/api/unlearn_miniature.json`` over HTTP with
held-out prompts, and writes ``output/demo/before_after.png`` and ``output/demo/report.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saeuron.evaluation.classifier import Classifier
from saeuron.evaluation.metrics import accuracy, unlearning_accuracy
from saeuron.figures.plots import picture_grid
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY
from tools.workflows.prompts import Prompt, find_nodes, read_prompt, set_input

HELD_OUT = PROMPTS_FOLDER / "heldout"
CLASSIFIER = REPOSITORY / "saeuron" / "miniature" / "classifiers" / "objects"

MULTIPLIERS = {"cats": -20.0, "towers": -40.0}  # chosen on the fit prompts
SHOWN_MULTIPLIERS = (-5.0, -20.0, -40.0)
SHOWN = {"cats": 3, "towers": 2, "dogs": 0, "flowers": 0, "frogs": 0}  # object -> which of its held-out prompts
CONCEPT_PROMPTS, OTHER_PROMPTS, BATCH = 10, 1, 4
SEED = 1000


class Studio:
    """One server and one saved workflow; draws a prompt with some concepts removed."""

    def __init__(self, server: ComfyServer) -> None:
        self._server = server
        self._prompt = read_prompt("unlearn_miniature")

    def draw(self, text: str, seed: int, batch: int, removed: dict[str, float]) -> list[np.ndarray]:
        """Pictures uint8 [H, W, 3]; `removed` maps concepts to multipliers, an empty one is the model as it is."""
        prompt = copy.deepcopy(self._prompt)
        title = "After" if removed else "Before"
        set_input(prompt, "text", text, title="Prompt")
        set_input(prompt, "batch_size", batch, class_type="EmptyLatentImage")
        for sampler in find_nodes(prompt, class_type="KSampler"):
            prompt[sampler]["inputs"]["seed"] = seed
        if removed:
            _chain(prompt, removed)
        for node in find_nodes(prompt, title="After" if title == "Before" else "Before"):
            del prompt[node]
        (output,) = find_nodes(prompt, title=title)
        return [self._server.image(entry) for entry in self._server.run(prompt)[output]["images"]]


def _chain(prompt: Prompt, removed: dict[str, float]) -> None:
    """One Load Feature Set and one Unlearn per concept, each Unlearn on the one before."""
    (unlearn,) = find_nodes(prompt, class_type="SaeuronUnlearn")
    (loader,) = find_nodes(prompt, class_type="SaeuronLoadFeatureSet")
    last: list[Any] = prompt[unlearn]["inputs"]["model"]
    for number, (concept, multiplier) in enumerate(removed.items()):
        final = number == len(removed) - 1
        own_loader, own_unlearn = (loader, unlearn) if final else (f"{loader}-{number}", f"{unlearn}-{number}")
        for source, name in ((loader, own_loader), (unlearn, own_unlearn)):
            prompt[name] = copy.deepcopy(prompt[source])
        saved = Path(prompt[loader]["inputs"]["feature_set_name"])
        prompt[own_loader]["inputs"]["feature_set_name"] = saved.with_name(f"{concept}.json").as_posix()
        prompt[own_unlearn]["inputs"].update(model=last, feature_set=[own_loader, 0], multiplier=multiplier)
        last = [own_unlearn, 0]


def held_out(concept: str, count: int) -> list[str]:
    return read_prompts(HELD_OUT / f"{concept}.txt")[:count]


class Gallery:
    """What the judge sees on pictures of held-out prompts; every call uses the same prompts and seeds."""

    def __init__(self, studio: Studio, judge: Classifier) -> None:
        self._studio, self._judge = studio, judge
        self._plain: dict[tuple[str, int], list[str]] = {}  # concepts share the pictures with nothing removed

    def see(self, object_name: str, prompts: int, removed: dict[str, float]) -> list[str]:
        key = object_name, prompts
        if not removed and key in self._plain:
            return self._plain[key]
        pictures = [
            picture
            for number, text in enumerate(held_out(object_name, prompts))
            for picture in self._studio.draw(text, SEED + number, BATCH, removed)
        ]
        seen = self._judge.classify(np.stack(pictures))
        if not removed:
            self._plain[key] = seen
        return seen

    def measure(self, concept: str, multiplier: float) -> dict[str, Any]:
        figures: dict[str, Any] = {"multiplier": multiplier}
        for removed, ua, others in (
            ({}, "baseline_ua", "other_accuracy_before"),
            ({concept: multiplier}, "ua", "other_accuracy_after"),
        ):
            seen = self.see(concept, CONCEPT_PROMPTS, removed)
            pairs = [
                (found, label)
                for label in self._judge.labels
                if label != concept
                for found in self.see(label, OTHER_PROMPTS, removed)
            ]
            figures[ua] = unlearning_accuracy(seen, concept)
            figures[others] = accuracy(*zip(*pairs, strict=True))
            figures["images"], figures["other_images"] = len(seen), len(pairs)
        return figures


def picture_sheet(studio: Studio) -> tuple[list[str], list[str], list[list[np.ndarray]]]:
    rows, pictures = [], []
    for object_name, number in SHOWN.items():
        text = held_out(object_name, number + 1)[number]
        rows.append(text)
        settings = [{}, *({concept: m for concept in MULTIPLIERS} for m in SHOWN_MULTIPLIERS)]
        pictures.append([studio.draw(text, SEED, 1, removed)[0] for removed in settings])
    columns = ["off", *(f"cats and towers, multiplier {m:g}" for m in SHOWN_MULTIPLIERS)]
    return rows, columns, pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "output" / "demo")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    judge = Classifier(CLASSIFIER)
    with ComfyServer() as server:
        version = server.get("/system_stats")["system"]["comfyui_version"]
        print(f"ComfyUI {version} is up after {time.monotonic() - began:.0f} s", flush=True)
        import_seconds = server.import_seconds()
        studio = Studio(server)
        Image.fromarray(picture_grid(*picture_sheet(studio))).save(arguments.output / "before_after.png")
        gallery, concepts = Gallery(studio, judge), {}
        for concept, multiplier in MULTIPLIERS.items():
            concepts[concept] = gallery.measure(concept, multiplier)
            print(f"{concept}: {json.dumps(concepts[concept])}", flush=True)
    report = {
        "comfyui_version": version,
        "concepts": concepts,
        "pack_import_seconds": import_seconds,
        "seconds": round(time.monotonic() - began),
    }
    (arguments.output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"Wrote {arguments.output}/before_after.png and report.json", flush=True)


if __name__ == "__main__":
    main()
