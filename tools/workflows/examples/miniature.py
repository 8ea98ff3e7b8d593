"""Examples that run at once, on the model that comes with the pack."""

from __future__ import annotations

from collections.abc import Sequence

from saeuron.miniature.architecture import DECISIVE
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.prompts import read_prompts
from tools.host.unpack import REPOSITORY
from tools.miniature.build_feature_sets import folder_of
from tools.workflows.description import Column, From, Node

from .parts import (
    CLIP,
    FEATURE_SET,
    LOADERS_WIDTH,
    MODEL,
    NEGATIVE,
    PICTURES_WIDTH,
    SAE,
    VAE,
    note,
    picture,
    prompt,
    unlearn,
)

FEATURE_SETS = REPOSITORY / "feature_sets"

MINIATURE_RUN = {"steps": 8, "cfg": 1.0, "sampler_name": "euler", "scheduler": "sgm_uniform"}

HOOKPOINT = DECISIVE["objects"]
CATS_MULTIPLIER, TOWERS_MULTIPLIER = -20.0, -20.0

MINIATURE_LOADERS = [
    Node("model", "SaeuronLoadMiniature"),
    Node("sae", "SaeuronLoadSAE", {"sae_name": f"miniature-{HOOKPOINT}.safetensors"}),
]
MINIATURE_PROMPT = [
    prompt("a cat in twemoji style"),
    NEGATIVE,
    Node("latent", "EmptyLatentImage", {"width": 192, "height": 192, "batch_size": 1}),
]


def load_features(key: str, concept: str, title: str = "") -> Node:
    name = folder_of(HOOKPOINT).relative_to(FEATURE_SETS) / f"{concept}.json"
    return Node(key, "SaeuronLoadFeatureSet", {"feature_set_name": name.as_posix()}, title=title, room=310)


def sampler(key: str, title: str, model: From) -> Node:
    wires = {"model": model, "positive": From("prompt", "CONDITIONING"), "negative": From("negative", "CONDITIONING")}
    return Node(
        key, "KSampler", {**wires, "latent_image": From("latent", "LATENT"), "seed": 1, **MINIATURE_RUN}, title=title
    )


WITH_AND_WITHOUT = Column(
    "Same seed, with and without",
    [
        sampler("sample_before", "Sample before", MODEL),
        sampler("sample_after", "Sample after", From("unlearn", "MODEL")),
    ],
)
BEFORE_AND_AFTER = [
    *picture("before", "Before", From("sample_before", "LATENT"), VAE),
    *picture("after", "After", From("sample_after", "LATENT"), VAE),
]


UNLEARN = [
    Column(
        "Model, SAE and the concept's features",
        [
            note(
                "**Run it.** *Before* is the model as it is, *After* is the same prompt and seed with cats turned "
                "down.\n\n- Move **multiplier** on Unlearn: 0 switches the features off, further left pushes harder.\n"
                "- Write another prompt, for example `a dog in twemoji style`: it should look the same in both.\n"
                "- Choose another concept on Load Feature Set, or chain a second Unlearn for it.\n\n"
                "Nothing has to be downloaded.",
                220,
            ),
            *MINIATURE_LOADERS,
            load_features("features", "cats"),
        ],
        LOADERS_WIDTH,
    ),
    Column("What to draw, what to unlearn", [*MINIATURE_PROMPT, unlearn("gamma-mu", CATS_MULTIPLIER)]),
    WITH_AND_WITHOUT,
    Column("Pictures", BEFORE_AND_AFTER, PICTURES_WIDTH),
]

# The n-th lines of all lists name the same style, so the two dozens differ in the object and little else.
ANIMALS = ["dogs", "bears", "rabbits", "horses", "frogs", "birds", "fishes", "butterfly"]
OTHERS = [*ANIMALS, "human", "flowers", "trees", "towers"]


def fit_prompts(concepts: Sequence[str]) -> str:
    """A dozen fitting prompts, the n-th from the n-th concept's list."""
    lists = [read_prompts(PROMPTS_FOLDER / "fit" / f"{concept}.txt") for concept in concepts]
    return "\n".join(prompts[place] for place, prompts in enumerate(lists))


def collect(key: str, title: str, prompts: str) -> Node:
    wires = {"model": MODEL, "clip": CLIP, "sae": SAE}
    settings = {"prompts": prompts, "width": 192, "height": 192, "seed": 0, **MINIATURE_RUN}
    return Node(key, "SaeuronCollectStatistics", {**wires, **settings}, title=title, room=230)


def compute_feature_set() -> list[Column]:
    text = (
        "**Run it** to find the features of *cats* by yourself: a dozen pictures with cats, a dozen without (a minute "
        "or two on a CPU), then the features that tell them apart.\n\n"
        "- For another concept change the prompts of the first Collect Statistics, the concept's name and the file "
        "name.\n"
        "- Use 30 or more prompts each for a set that you want to keep.\n"
        "- ComfyUI keeps the statistics: after a change of tau or the multiplier it draws one picture only.\n\n"
        "The set is saved with both pictures to `models/feature_sets/my-cats.json`. Load Feature Set lists it after a "
        "refresh (R), and Browse Feature Sets shows it."
    )
    statistics = {"concept_statistics": From("with", "statistics"), "other_statistics": From("without", "statistics")}
    save = {"feature_set": FEATURE_SET, "name": "my-cats", "overwrite": True}
    save |= {name: From(f"decode_{name}", "IMAGE") for name in ("before", "after")}
    return [
        Column("Model and SAE", [note(text, 280), *MINIATURE_LOADERS], LOADERS_WIDTH),
        Column(
            "Statistics: the slow part",
            [
                collect("with", "Collect Statistics: with the concept", fit_prompts(["cats"] * len(OTHERS))),
                collect("without", "Collect Statistics: without it", fit_prompts(OTHERS)),
            ],
            LOADERS_WIDTH,
        ),
        Column(
            "The concept's features",
            [
                Node(
                    "features",
                    "SaeuronSelectFeatures",
                    {**statistics, "concept": "cats", "tau": 10, "overlap": 0.1},
                    room=160,
                ),
                unlearn("gamma-mu", CATS_MULTIPLIER),
            ],
        ),
        Column("What to draw", MINIATURE_PROMPT),
        WITH_AND_WITHOUT,
        Column(
            "Pictures, and the set with them",
            [*BEFORE_AND_AFTER, Node("save", "SaeuronSaveFeatureSet", save)],
            PICTURES_WIDTH,
        ),
    ]


def held_out(concept: str, count: int) -> list[str]:
    return read_prompts(PROMPTS_FOLDER / "heldout" / f"{concept}.txt")[:count]


def sweep_multiplier() -> list[Column]:
    text = (
        "**Run it** to see what each multiplier removes and what it costs: the same prompts from the same noise in "
        "every column.\n\n"
        "- **UA** is the share of cat pictures on which the classifier sees no cat; the column *off* is what it is "
        "worth comparing with.\n"
        "- Other prompts have the label the classifier should see before a bar.\n"
        "- Classifier and CLIP Vision are optional: without them you get the pictures.\n\n"
        "For your own model use its loader, its SAE and your prompts; never those the features were found with."
    )
    others = "\n".join(f"{concept} | {held_out(concept, 1)[0]}" for concept in ("dogs", "rabbits", "towers"))
    inputs = {
        "model": MODEL,
        "clip": CLIP,
        "vae": VAE,
        "sae": SAE,
        "feature_set": FEATURE_SET,
        "multipliers": "0, -5, -10, -20",
        "prompts": "\n".join(held_out("cats", 3)),
        "other_prompts": others,
        "seeds": 2,
        "seed": 100,
        **MINIATURE_RUN,
        "width": 192,
        "height": 192,
        "classifier": From("classifier", "classifier"),
        "concept_label": "cats",
        "clip_vision": From("clip_vision", "CLIP_VISION"),
    }
    return [
        Column(
            "Model, SAE, features and judges",
            [
                note(text, 260),
                *MINIATURE_LOADERS,
                load_features("features", "cats"),
                Node("classifier", "SaeuronLoadClassifier", {"classifier_name": "miniature-objects"}),
                Node("clip_vision", "SaeuronLoadMiniatureClip"),
            ],
            LOADERS_WIDTH,
        ),
        Column("The sweep", [Node("sweep", "SaeuronMultiplierSweep", inputs, room=330)], LOADERS_WIDTH),
        Column(
            "What it removes and what it costs",
            [
                Node("grid", "PreviewImage", {"images": From("sweep", "grid")}, title="Pictures", room=420),
                Node("plot", "PreviewImage", {"images": From("sweep", "plot")}, title="Figures", room=300),
                Node("table", "PreviewAny", {"source": From("sweep", "table")}, title="Table", room=160),
            ],
            LOADERS_WIDTH,
        ),
    ]
