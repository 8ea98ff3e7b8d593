"""Build the shipped example workflows: `python -m tools.build_workflows`.

A workflow is described here by what a person would say about it: columns of nodes from left to right, each node's
inputs by name. `tools.workflow_format` makes files of it; building twice writes the same bytes.

Pictures beside the files (``<same name>.jpg``) are real results and come from another tool.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saeuron.json_text import format_json
from saeuron.prompts import read_prompts
from tools.host import REPOSITORY
from tools.server import ComfyServer
from tools.workflow_format import NOTE, Column, From, Node, build

FOLDER = REPOSITORY / "example_workflows"
PROMPTS = REPOSITORY / "feature_sets" / "prompts" / "fit"

LOADERS_WIDTH, PICTURES_WIDTH = 420, 280


def note(text: str, room: int) -> Node:
    return Node("note", NOTE, {"text": text}, title="What to do", room=room)


def picture(key: str, title: str, latent: From, vae: From) -> list[Node]:
    """Decode and show."""
    return [
        Node(f"decode_{key}", "VAEDecode", {"samples": latent, "vae": vae}),
        Node(key, "PreviewImage", {"images": From(f"decode_{key}", "IMAGE")}, title=title, room=280),
    ]


# --- the miniature -----------------------------------------------------------------------------------------------

MODEL, CLIP, VAE = (From("model", output) for output in ("MODEL", "CLIP", "VAE"))
SAE = From("sae", "sae")
FEATURE_SET = From("features", "feature_set")
MINIATURE_RUN = {"steps": 8, "cfg": 1.0, "sampler_name": "euler", "scheduler": "sgm_uniform"}

MINIATURE_LOADERS = [
    Node("model", "SaeuronLoadMiniature"),
    Node("sae", "SaeuronLoadSAE", {"sae_name": "miniature-up_blocks.0.attentions.1.safetensors"}),
]
NEGATIVE = Node("negative", "CLIPTextEncode", {"clip": CLIP, "text": ""}, title="Negative (no use at cfg 1)", room=50)


def prompt(text: str) -> Node:
    return Node("prompt", "CLIPTextEncode", {"clip": CLIP, "text": text}, title="Prompt", room=70)


MINIATURE_PROMPT = [
    prompt("a cat in twemoji style"),
    NEGATIVE,
    Node("latent", "EmptyLatentImage", {"width": 192, "height": 192, "batch_size": 1}),
]


def unlearn(rule: str, multiplier: float) -> Node:
    inputs = {"model": MODEL, "sae": SAE, "feature_set": FEATURE_SET, "multiplier": multiplier, "rule": rule}
    return Node("unlearn", "SaeuronUnlearn", inputs, room=140)


def sampler(key: str, title: str, model: From) -> Node:
    wires = {"model": model, "positive": From("prompt", "CONDITIONING"), "negative": From("negative", "CONDITIONING")}
    return Node(
        key, "KSampler", {**wires, "latent_image": From("latent", "LATENT"), "seed": 1, **MINIATURE_RUN}, title=title
    )


UNLEARN_MINIATURE = [
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
            Node("features", "SaeuronLoadFeatureSet", {"feature_set_name": "miniature/cats.json"}, room=90),
        ],
        LOADERS_WIDTH,
    ),
    Column("What to draw, what to unlearn", [*MINIATURE_PROMPT, unlearn("gamma-mu", -20.0)]),
    Column(
        "Same seed, with and without",
        [
            sampler("sample_before", "Sample before", MODEL),
            sampler("sample_after", "Sample after", From("unlearn", "MODEL")),
        ],
    ),
    Column(
        "Pictures",
        [
            *picture("before", "Before", From("sample_before", "LATENT"), VAE),
            *picture("after", "After", From("sample_after", "LATENT"), VAE),
        ],
        PICTURES_WIDTH,
    ),
]

# The n-th lines of all lists name the same style, so the two dozens differ in the object and little else.
ANIMALS = ["dogs", "bears", "rabbits", "horses", "frogs", "birds", "fishes", "butterfly"]
OTHERS = [*ANIMALS, "human", "flowers", "trees", "towers"]


def fit_prompts(concepts: Sequence[str]) -> str:
    """A dozen fitting prompts, the n-th from the n-th concept's list."""
    return "\n".join(read_prompts(PROMPTS / f"{concept}.txt")[place] for place, concept in enumerate(concepts))


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
        "The set is saved to `models/feature_sets/my-cats.json`; Load Feature Set lists it after a refresh (R)."
    )
    statistics = {"concept_statistics": From("with", "statistics"), "other_statistics": From("without", "statistics")}
    save = {"feature_set": FEATURE_SET, "name": "my-cats", "overwrite": True}
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
                Node("features", "SaeuronSelectFeatures", {**statistics, "concept": "cats", "tau": 10}, room=160),
                Node("save", "SaeuronSaveFeatureSet", save),
                unlearn("gamma-mu", -20.0),
            ],
        ),
        Column("What to draw", [*MINIATURE_PROMPT, sampler("sample_after", "Sample after", From("unlearn", "MODEL"))]),
        Column("Picture", picture("after", "After", From("sample_after", "LATENT"), VAE), PICTURES_WIDTH),
    ]


# --- SDXL-Turbo: the official graph and our nodes -----------------------------------------------------------------

TURBO = "sd_xl_turbo_1.0_fp16.safetensors"
TURBO_URL = f"https://huggingface.co/stabilityai/sdxl-turbo/resolve/main/{TURBO}"
TURBO_SAE = "unet.up_blocks.0.attentions.1_k10_hidden5120_auxk256_bs4096_lr0.0001/final"
TURBO_SAE_URL = f"https://huggingface.co/surokpro2/sdxl-saes/resolve/main/{TURBO_SAE}"
TURBO_SAE_FILES = [
    (f"{TURBO_SAE}/{name}", f"{TURBO_SAE_URL}/{name}", "saes") for name in ("state_dict.pth", "config.json")
]


def turbo_sampler(key: str, title: str, model: From) -> Node:
    inputs = {
        "model": model,
        "positive": From("prompt", "CONDITIONING"),
        "negative": From("negative", "CONDITIONING"),
        "sampler": From("sampler", "SAMPLER"),
        "sigmas": From("sigmas", "SIGMAS"),
        "latent_image": From("latent", "LATENT"),
    }
    return Node(key, "SamplerCustom", {**inputs, "add_noise": True, "noise_seed": 42, "cfg": 1.0}, title=title)


UNLEARN_SDXL_TURBO = [
    Column(
        "Model, SAE and the concept's features",
        [
            note(
                "**Before you run it** put two things from Hugging Face in place, then refresh (R):\n\n"
                f"1. `{TURBO}` from `stabilityai/sdxl-turbo` into `models/checkpoints`.\n"
                f"2. The folder `{TURBO_SAE.split('/')[0]}` of `surokpro2/sdxl-saes` into `models/saes`, at least its "
                "`config.json` and `state_dict.pth`; then choose it on Load SAE.\n\n"
                "The feature set lists indices only, so the rule is **gamma**: at 0 the features are switched off, at "
                "-1 they are turned round. The features are as published and were not checked here; to find features "
                "yourself see the workflow *compute_feature_set*.",
                330,
            ),
            Node("model", "CheckpointLoaderSimple", {"ckpt_name": TURBO}, models=[(TURBO, TURBO_URL, "checkpoints")]),
            Node("sae", "SaeuronLoadSAE", {"sae_name": TURBO_SAE}, models=TURBO_SAE_FILES),
            Node("features", "SaeuronLoadFeatureSet", {"feature_set_name": "sdxl-turbo/cats.json"}, room=90),
        ],
        LOADERS_WIDTH,
    ),
    Column(
        "What to draw, what to unlearn",
        [
            prompt("a photo of a cat on a sofa"),
            NEGATIVE,
            Node("latent", "EmptyLatentImage", {"width": 512, "height": 512, "batch_size": 1}),
            unlearn("gamma", -1.0),
        ],
    ),
    Column(
        "Same seed, with and without",
        [
            Node("sigmas", "SDTurboScheduler", {"model": MODEL, "steps": 4, "denoise": 1.0}),
            Node("sampler", "KSamplerSelect", {"sampler_name": "euler_ancestral"}),
            turbo_sampler("sample_before", "Sample before", MODEL),
            turbo_sampler("sample_after", "Sample after", From("unlearn", "MODEL")),
        ],
    ),
    Column(
        "Pictures",
        [
            *picture("before", "Before", From("sample_before", "output"), VAE),
            *picture("after", "After", From("sample_after", "output"), VAE),
        ],
        PICTURES_WIDTH,
    ),
]


def descriptions() -> dict[str, Sequence[Column]]:
    """File name without .json -> what is in it."""
    return {
        "unlearn_miniature": UNLEARN_MINIATURE,
        "unlearn_sdxl_turbo": UNLEARN_SDXL_TURBO,
        "compute_feature_set": compute_feature_set(),
    }


def build_all(object_info: Mapping[str, Any]) -> dict[str, str]:
    """File name -> content."""
    return {
        f"{name}.json": format_json(build(name, columns, object_info)) + "\n"
        for name, columns in descriptions().items()
    }


def read_object_info(saved: Path | None) -> dict[str, Any]:
    """What `saved` holds, or the answer of a real server with the pack."""
    if saved is not None:
        return dict(json.loads(saved.read_text(encoding="utf-8")))
    with ComfyServer() as server:
        return server.object_info()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.build_workflows", description=__doc__.splitlines()[0])
    parser.add_argument("--object-info", type=Path, help="a saved answer to /object_info, instead of starting a server")
    parser.add_argument("--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, content in build_all(read_object_info(options.object_info)).items():
        (options.output / name).write_text(content, encoding="utf-8", newline="\n")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
