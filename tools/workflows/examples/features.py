"""Examples about features, on the miniature: several concepts at once, heat maps, a feature set by hand."""

from __future__ import annotations

from saeuron.features.feature_set import FeatureSet
from tools.miniature.build_feature_sets import folder_of
from tools.workflows.description import Column, From, Node

from .miniature import (
    CATS_MULTIPLIER,
    HOOKPOINT,
    MINIATURE_LOADERS,
    MINIATURE_PROMPT,
    MINIATURE_RUN,
    TOWERS_MULTIPLIER,
    load_features,
    sampler,
)
from .parts import CLIP, FEATURE_SET, LOADERS_WIDTH, MODEL, SAE, VAE, compare, note, unlearn

PROMPT = "a cat in twemoji style"
DRAW = {**MINIATURE_RUN, "width": 192, "height": 192, "seed": 1}


def decode(key: str) -> Node:
    return Node(f"decode_{key}", "VAEDecode", {"samples": From(f"sample_{key}", "LATENT"), "vae": VAE})


def samples_and_comparison(edited: From, label: str) -> list[Column]:
    """The prompt with the model as it is and as `edited`, and both pictures in one."""
    return [
        Column(
            "Same seed, with and without",
            [sampler("sample_before", "Sample before", MODEL), sampler("sample_after", "Sample after", edited)],
        ),
        Column(
            "Before and after",
            [
                decode("before"),
                decode("after"),
                compare(From("decode_before", "IMAGE"), From("decode_after", "IMAGE"), label),
            ],
            LOADERS_WIDTH,
        ),
    ]


def unlearn_several() -> list[Column]:
    text = (
        "**Run it** to remove cats and towers with one model: one Unlearn for each, one after the other.\n\n"
        "- Write a prompt with a cat, then one with a tower, then one with neither.\n"
        "- The order does not matter. Where two concepts share a feature, the stronger edit counts.\n"
        "- Bypass one of them (Ctrl+B) to get its concept back."
    )
    second = unlearn(
        "gamma-mu",
        TOWERS_MULTIPLIER,
        "unlearn_towers",
        From("unlearn", "MODEL"),
        From("towers", "feature_set"),
        "Unlearn towers",
    )
    return [
        Column(
            "Model, SAE and two concepts",
            [
                note(text, 180),
                *MINIATURE_LOADERS,
                load_features("features", "cats", "Cats"),
                load_features("towers", "towers", "Towers"),
            ],
            LOADERS_WIDTH,
        ),
        Column("What to draw", MINIATURE_PROMPT),
        Column("What to unlearn", [unlearn("gamma-mu", CATS_MULTIPLIER, title="Unlearn cats"), second]),
        *samples_and_comparison(From("unlearn_towers", "MODEL"), "No cats, no towers"),
    ]


def heat_map(key: str, title: str, model: From) -> Node:
    wires = {"model": model, "clip": CLIP, "vae": VAE, "sae": SAE, "feature_set": FEATURE_SET}
    return Node(key, "SaeuronFeatureHeatmap", {**wires, "prompt": PROMPT, **DRAW}, title=title, room=170)


def show(key: str, title: str, source: From, room: int) -> Node:
    return Node(key, "PreviewImage", {"images": source}, title=title, room=room)


def feature_heatmap() -> list[Column]:
    text = (
        "**Run it** to see where in a picture the features of *cats* fire, and what is left of them after Unlearn.\n\n"
        "- Choose another **view** for one map per feature or per step.\n"
        "- The report shows the features as bars: score, mean activation, how often they fire.\n"
        "- The mask output can go wherever a mask can: to Steer Features, or to inpainting."
    )
    return [
        Column(
            "Model, SAE and the concept's features",
            [
                note(text, 180),
                *MINIATURE_LOADERS,
                load_features("features", "cats"),
                unlearn("gamma-mu", CATS_MULTIPLIER),
            ],
            LOADERS_WIDTH,
        ),
        Column(
            "Where features fire",
            [
                heat_map("heat_before", "Heat Map before", MODEL),
                heat_map("heat_after", "Heat Map after", From("unlearn", "MODEL")),
            ],
            LOADERS_WIDTH,
        ),
        Column(
            "Before and after",
            [
                show("before", "Before", From("heat_before", "overlays"), 320),
                show("after", "After", From("heat_after", "overlays"), 320),
            ],
            LOADERS_WIDTH,
        ),
        Column(
            "The features themselves",
            [
                Node("report", "SaeuronFeatureReport", {"feature_set": FEATURE_SET, "sae": SAE}, room=180),
                show("charts", "Bars", From("report", "charts"), 260),
            ],
            LOADERS_WIDTH,
        ),
    ]


def shipped_indices(concept: str, count: int) -> list[int]:
    """The best features of a shipped set."""
    feature_set = FeatureSet.load(folder_of(HOOKPOINT) / f"{concept}.json")
    return [feature.index for feature in feature_set.steps[0].features[:count]]


def feature_set_by_hand() -> list[Column]:
    text = (
        "**Run it** to build a feature set without collecting statistics.\n\n"
        "1. *Find Features* lists the strongest features of a picture. To ask for a part of it, paint a mask in the "
        "mask editor of Load Image and connect it.\n"
        "2. *Feature Examples* shows what one of them stands for: write its index there.\n"
        "3. Write the indices you want into *Features By Index*. Those that are there now belong to cats.\n"
        "4. *Unlearn* multiplies them with -5: a set of indices only needs the rule `gamma`, or `zero` to switch off."
    )
    cats = shipped_indices("cats", 5)
    draw_from = {"model": MODEL, "clip": CLIP, "sae": SAE}
    examples = {"feature": cats[0], "prompts": "a cat\na dog\na tower\na flower", "count": 3}
    return [
        Column("Model and SAE", [note(text, 260), *MINIATURE_LOADERS], LOADERS_WIDTH),
        Column(
            "What fires in a picture",
            [
                Node("find", "SaeuronFindFeatures", {**draw_from, "prompt": PROMPT, **DRAW}, room=230),
                Node("examples", "SaeuronFeatureExamples", {**draw_from, "vae": VAE, **examples, **DRAW}, room=230),
            ],
            LOADERS_WIDTH,
        ),
        Column(
            "What they are",
            [
                Node(
                    "table", "PreviewAny", {"source": From("find", "table")}, title="Features of the picture", room=240
                ),
                show("grid", "Examples of one feature", From("examples", "grid"), 420),
            ],
            LOADERS_WIDTH,
        ),
        Column(
            "A set of your own",
            [
                Node(
                    "features",
                    "SaeuronFeaturesByIndex",
                    {"sae": SAE, "indices": ", ".join(map(str, cats)), "concept": "cats, by hand"},
                    room=150,
                ),
                unlearn("gamma", -5.0),
                *MINIATURE_PROMPT,
            ],
            LOADERS_WIDTH,
        ),
        *samples_and_comparison(From("unlearn", "MODEL"), "Turned down"),
    ]
