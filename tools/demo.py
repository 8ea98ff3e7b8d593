"""The main job through a real ComfyUI: cats and towers are removed from the miniature, the rest stays.

``make demo`` starts a server with the pack, runs ``example_workflows/api/unlearn_miniature.json`` over HTTP with
held-out prompts, once with Unlearn and once with Forget in its place, and writes ``output/demo/before_after.png`` and
``output/demo/report.json``. ``--pack`` takes the pack from the archive of a release instead of the checkout;
``--concepts`` removes only one of them.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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

MULTIPLIERS = {"cats": -20.0, "towers": -20.0}  # chosen on the fit prompts


class Exchange(NamedTuple):
    """What Forget is told to draw instead of what, and what the classifier calls it."""

    word: str
    instead: str
    label: str

    @property
    def line(self) -> str:
        return f"{self.word} -> {self.instead}"


EXCHANGES = {"cats": Exchange("cat", "dog", "dogs"), "towers": Exchange("tower", "tree", "trees")}
SHOWN_MULTIPLIERS = (-5.0, -20.0, -40.0)
SHOWN = {"cats": 3, "towers": 2, "dogs": 0, "flowers": 0, "frogs": 0}  # object -> which of its held-out prompts
CONCEPT_PROMPTS, OTHER_PROMPTS, BATCH = 10, 1, 4
FORGET_EVERY = 2  # of the other objects: the demo is to stay short
SEED = 1000

Edit = Mapping[str, float] | str
"""Concepts and their multipliers, for Unlearn; or what is written in Forget. An empty one is the model as it is."""


class Studio:
    """One server and one saved workflow; draws a prompt with some concepts removed."""

    def __init__(self, server: ComfyServer) -> None:
        self._server = server
        self._prompt = read_prompt("unlearn_miniature")

    def draw(self, text: str, seed: int, batch: int, edit: Edit) -> list[np.ndarray]:
        """Pictures uint8 [H, W, 3]."""
        prompt = copy.deepcopy(self._prompt)
        title = "After" if edit else "Before"
        set_input(prompt, "text", text, title="Prompt")
        set_input(prompt, "batch_size", batch, class_type="EmptyLatentImage")
        for sampler in find_nodes(prompt, class_type="KSampler"):
            prompt[sampler]["inputs"]["seed"] = seed
        if isinstance(edit, str) and edit:
            put_forget(prompt, edit)
        elif edit:
            _chain(prompt, edit)
        for node in find_nodes(prompt, title="After" if title == "Before" else "Before"):
            del prompt[node]
        (output,) = find_nodes(prompt, title=title)
        return [self._server.image(entry) for entry in self._server.run(prompt)[output]["images"]]


def put_forget(prompt: Prompt, concepts: str) -> None:
    """Forget instead of Unlearn."""
    (unlearn,) = find_nodes(prompt, class_type="SaeuronUnlearn")
    (miniature,) = find_nodes(prompt, class_type="SaeuronLoadMiniature")
    wires = {name: prompt[unlearn]["inputs"][name] for name in ("model", "sae")}
    inputs = {**wires, "clip": [miniature, 1], "concepts": concepts, "strength": 100.0, "look_first": False}
    prompt[unlearn] = {"class_type": "SaeuronForget", "inputs": inputs, "_meta": {"title": "Forget"}}


def _chain(prompt: Prompt, removed: Mapping[str, float]) -> None:
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


class Seen(NamedTuple):
    """Pictures, uint8 [n, H, W, 3], and what the judge sees on each."""

    pictures: np.ndarray
    labels: list[str]


class Gallery:
    """What the judge sees on pictures of held-out prompts; every call uses the same prompts and seeds."""

    def __init__(self, studio: Studio, judge: Classifier) -> None:
        self._studio, self._judge = studio, judge
        self._plain: dict[tuple[str, int], Seen] = {}  # concepts share the pictures with nothing removed

    def see(self, object_name: str, prompts: int, edit: Edit) -> Seen:
        key = object_name, prompts
        if not edit and key in self._plain:
            return self._plain[key]
        pictures = np.stack(
            [
                picture
                for number, text in enumerate(held_out(object_name, prompts))
                for picture in self._studio.draw(text, SEED + number, BATCH, edit)
            ]
        )
        seen = Seen(pictures, self._judge.classify(pictures))
        if not edit:
            self._plain[key] = seen
        return seen

    def see_others(self, concept: str, edit: Edit, every: int = 1) -> dict[str, Seen]:
        """Every so manyth object other than `concept`, by name."""
        others = [name for name in self._judge.labels if name != concept]
        return {name: self.see(name, OTHER_PROMPTS, edit) for name in others[::every]}

    def measure(self, concept: str, multiplier: float) -> dict[str, Any]:
        figures: dict[str, Any] = {"multiplier": multiplier}
        edits: tuple[tuple[Edit, str, str], ...] = (
            ({}, "baseline_ua", "other_accuracy_before"),
            ({concept: multiplier}, "ua", "other_accuracy_after"),
        )
        for edit, ua, other_accuracy in edits:
            seen, others = self.see(concept, CONCEPT_PROMPTS, edit), self.see_others(concept, edit)
            figures[ua] = unlearning_accuracy(seen.labels, concept)
            figures[other_accuracy] = accuracy_of(others)
            figures["images"] = len(seen.labels)
            figures["other_images"] = count(others)
        return {**figures, "replace": self.measure_forget(concept, EXCHANGES[concept])}

    def measure_forget(self, concept: str, exchange: Exchange) -> dict[str, Any]:
        """`identical_others` is the share of other pictures that are, bit for bit, what the plain model draws."""
        seen = self.see(concept, CONCEPT_PROMPTS, exchange.line)
        plain = self.see_others(concept, {}, FORGET_EVERY)
        others = self.see_others(concept, exchange.line, FORGET_EVERY)
        return {
            "with": exchange.instead,
            "ua": unlearning_accuracy(seen.labels, concept),
            "replaced": seen.labels.count(exchange.label) / len(seen.labels),
            "other_accuracy_after": accuracy_of(others),
            "other_images": count(others),
            "identical_others": share_of_identical((plain[name], others[name]) for name in plain),
        }


def count(seen: dict[str, Seen]) -> int:
    """How many pictures there are."""
    return sum(len(each.labels) for each in seen.values())


def accuracy_of(seen: dict[str, Seen]) -> float:
    """The share of pictures on which the judge sees what was asked for."""
    pairs = [(found, name) for name, each in seen.items() for found in each.labels]
    return accuracy(*zip(*pairs, strict=True))


def share_of_identical(pairs: Iterable[tuple[Seen, Seen]]) -> float:
    same = [np.array_equal(*two) for a, b in pairs for two in zip(a.pictures, b.pictures, strict=True)]
    return sum(same) / len(same)


def picture_sheet(studio: Studio) -> tuple[list[str], list[str], list[list[np.ndarray]]]:
    """Rows, columns and pictures: a prompt a row, as it is, with Unlearn, and with Forget."""
    edits: dict[str, Edit] = {
        "off": {},
        **{f"Unlearn cats and towers, multiplier {m:g}": dict.fromkeys(MULTIPLIERS, m) for m in SHOWN_MULTIPLIERS},
        f"Forget {', '.join(exchange.line for exchange in EXCHANGES.values())}": "\n".join(
            exchange.line for exchange in EXCHANGES.values()
        ),
    }
    texts = [held_out(object_name, number + 1)[number] for object_name, number in SHOWN.items()]
    pictures = [[studio.draw(text, SEED, 1, edit)[0] for edit in edits.values()] for text in texts]
    return texts, list(edits), pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "output" / "demo")
    parser.add_argument("--pack", type=Path, default=REPOSITORY, help="its folder or archive; default: this checkout")
    parser.add_argument("--concepts", nargs="+", choices=MULTIPLIERS, default=list(MULTIPLIERS), help="default: all")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    judge = Classifier(CLASSIFIER)
    with ComfyServer(pack_path=arguments.pack) as server:
        version = server.get("/system_stats")["system"]["comfyui_version"]
        print(f"ComfyUI {version} is up after {time.monotonic() - began:.0f} s", flush=True)
        import_seconds = server.import_seconds()
        studio = Studio(server)
        Image.fromarray(picture_grid(*picture_sheet(studio))).save(arguments.output / "before_after.png")
        gallery, concepts = Gallery(studio, judge), {}
        for concept in arguments.concepts:
            concepts[concept] = gallery.measure(concept, MULTIPLIERS[concept])
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
