"""Examples that draw something else where a concept would be, on the miniature."""

from __future__ import annotations

from collections.abc import Sequence

from tools.workflows.description import Column, From, Node

from .features import samples_and_comparison
from .miniature import MINIATURE_LOADERS, MINIATURE_PROMPT, load_features
from .parts import CLIP, FEATURE_SET, LOADERS_WIDTH, MODEL, SAE, note, prompt


def forget() -> list[Column]:
    text = (
        "**Run it.** *Before* is the model as it is; for *After* it was told to forget cats: the same prompt and seed "
        "give a dog.\n\n"
        "- The first run takes longer: Forget looks at pictures of cats and of other things. It remembers what it "
        "finds, for this model, its LoRAs and this SAE.\n"
        "- Write another prompt, for example `a tower in twemoji style`: both pictures are the same, bit for bit.\n"
        "- Write one concept a line into Forget, for example `tower -> tree` below the first.\n"
        "- For `a cat and a tower` switch **look_first** on: the tower stays.\n\n"
        "Nothing has to be downloaded."
    )
    return _forgetting(note(text, 200), MINIATURE_PROMPT)


def forget_one_of_two() -> list[Column]:
    text = (
        "**Run it.** *Before* is a cat and a tower. For *After* the model was told to forget cats: a dog stands in the "
        "cat's place, and all else of the picture is as it was.\n\n"
        "- That is what **look_first** is for. Forget draws such a picture as it is, sees where the cat stands, and "
        "draws it again with only that place replaced. Switch it off to see the difference.\n"
        "- Write another prompt, for example `a dog and a tower in twemoji style`: it is drawn once, and both pictures "
        "are the same, bit for bit.\n\n"
        "Nothing has to be downloaded."
    )
    _, *rest = MINIATURE_PROMPT
    to_draw = [prompt("a cat and a tower in twemoji style"), *rest]
    return _forgetting(note(text, 240), to_draw, look_first=True)


def _forgetting(about: Node, to_draw: Sequence[Node], **settings: bool) -> list[Column]:
    inputs = {"model": MODEL, "clip": CLIP, "sae": SAE, "concepts": "cat -> dog", **settings}
    node = Node("forget", "SaeuronForget", inputs, room=160)
    return [
        Column("Model and SAE", [about, *MINIATURE_LOADERS], LOADERS_WIDTH),
        Column("What to forget, what to draw", [node, *to_draw], LOADERS_WIDTH),
        *samples_and_comparison(From("forget", "MODEL"), "After"),
    ]


def encode(key: str, text: str, title: str) -> Node:
    return Node(key, "CLIPTextEncode", {"clip": CLIP, "text": text}, title=title, room=50)


def replace() -> list[Column]:
    text = (
        "**Run it** to draw a dog where a cat would be. Forget does the same in one node; here every part is in your "
        "hands.\n\n"
        "- The feature set finds the concept. For one of your own see the example *compute_feature_set*.\n"
        "- **sensitivity** is how easily it is found, **growth** and **feather** are the part that is replaced.\n"
        "- *Replacement Mask* shows where that was.\n"
        "- Chain another Replace Concept for another concept."
    )
    wires = {
        "model": MODEL,
        "sae": SAE,
        "feature_set": FEATURE_SET,
        "concept": From("concept", "CONDITIONING"),
        "instead": From("instead", "CONDITIONING"),
    }
    replaced = From("replace", "MODEL")
    mask = {"model": replaced, "latent": From("sample_after", "LATENT")}
    return [
        Column(
            "Model, SAE and the concept's features",
            [note(text, 220), *MINIATURE_LOADERS, load_features("features", "cats")],
            LOADERS_WIDTH,
        ),
        Column(
            "What to replace",
            [
                encode("concept", "a cat", "The concept"),
                encode("instead", "a dog", "What stands instead"),
                Node("replace", "SaeuronReplace", wires, room=180),
            ],
        ),
        Column("What to draw", MINIATURE_PROMPT),
        *samples_and_comparison(replaced, "After"),
        Column(
            "Where it was",
            [
                Node("mask", "SaeuronReplacementMask", mask, room=100),
                Node("shown", "MaskPreview", {"mask": From("mask", "MASK")}, title="Mask", room=260),
            ],
        ),
    ]
