"""SDXL-Turbo: the official graph and our nodes."""

from __future__ import annotations

from saeuron.sae.repositories import address, address_of_sae
from tools.workflows.description import Column, From, Node

from .parts import LOADERS_WIDTH, MODEL, NEGATIVE, PICTURES_WIDTH, VAE, note, picture, prompt, unlearn

TURBO = "sd_xl_turbo_1.0_fp16.safetensors"
TURBO_URL = address("stabilityai/sdxl-turbo", TURBO)
TURBO_SAE = "unet.up_blocks.0.attentions.1_k10_hidden5120_auxk256_bs4096_lr0.0001/final/state_dict.pth"


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


UNLEARN = [
    Column(
        "Model, SAE and the concept's features",
        [
            note(
                "**Before you run it** put two files from Hugging Face in place, then refresh (R):\n\n"
                f"1. `{TURBO}` from `stabilityai/sdxl-turbo` into `models/checkpoints`.\n"
                f"2. `state_dict.pth` from the folder `{TURBO_SAE.rpartition('/')[0]}` of `surokpro2/sdxl-saes` into a "
                "folder of the same name in `models/saes`: the name says what the `config.json` beside it would say. "
                "`python -m saeuron download "
                f"surokpro2/sdxl-saes {TURBO_SAE.rpartition('/')[0]}` in the pack's folder gets and checks both.\n\n"
                "The feature set lists indices only, so the rule is **gamma**: at 0 the features are switched off, at "
                "-1 they are turned round. The features are as published and were not checked here; to find features "
                "yourself see the workflow *compute_feature_set*.",
                390,
            ),
            Node("model", "CheckpointLoaderSimple", {"ckpt_name": TURBO}, models=[(TURBO, TURBO_URL, "checkpoints")]),
            Node(
                "sae",
                "SaeuronLoadSAE",
                {"sae_name": TURBO_SAE},
                models=[(TURBO_SAE, address_of_sae(TURBO_SAE), "saes")],
            ),
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
