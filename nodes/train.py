"""The node that trains an SAE for the connected model."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from comfy_api.v0_0_2 import io

from ..saeuron.errors import SaeuronError
from ..saeuron.figures.training import training_plot, training_table
from ..saeuron.prompts import parse_prompts, split_labels
from ..saeuron.sae.files import Placement, save_sae
from ..saeuron.sae.hookpoints import FAMILIES, canonical_name, hookpoints_of
from ..saeuron.sae.model import KINDS
from ..saeuron.training.run import Job, RunSettings, Trained, TrainingRun, figures_of
from ..saeuron.training.settings import ACTIVATIONS, TrainingSettings
from .host.activations import HostActivations
from .host.encoding import check_clip
from .host.folders import own_sae
from .host.inputs import SamplingSettings, sampling_inputs, sigmas_input
from .host.patchers import host_sae
from .host.pictures import as_image
from .host.runs import show_text
from .host.sockets import CATEGORY, SAE, HostedSAE
from .host.training import PlottedProgress, checkpoint_folder, forget_checkpoints
from .host.unet import find_block
from .host.weights import weights_digest

LOSS_PICTURES = 8


class SaeuronTrainSAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        hookpoints = sorted({hookpoint.name for family in FAMILIES for hookpoint in hookpoints_of(family)})
        return io.Schema(
            node_id="SaeuronTrainSAE",
            display_name="Train SAE",
            category=CATEGORY,
            description="Trains a sparse autoencoder on a block of the connected model, on pictures that it draws of "
            "your prompts, and saves it to models/saes.",
            inputs=[
                io.Model.Input("model", tooltip="The model to train for, with its LoRAs. It is not changed."),
                io.Clip.Input("clip", tooltip="Encodes the prompts."),
                io.String.Input("name", default="my-sae", tooltip="Of the file in models/saes."),
                io.Combo.Input(
                    "hookpoint",
                    options=hookpoints,
                    default="up_blocks.0.attentions.1",
                    tooltip="The block whose tokens the SAE is to explain.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default="update",
                    tooltip="What to read there: the block's update (output minus input) or its output.",
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt a line, of everything the SAE should know. They are drawn again and again, "
                    "each time with another seed.",
                ),
                io.Int.Input(
                    "expansion", default=8, min=1, max=256, tooltip="Features for each channel of the block: n / d."
                ),
                io.Int.Input("k", default=10, min=1, max=4096, tooltip="Features that a token keeps."),
                io.Combo.Input(
                    "activation",
                    options=list(ACTIVATIONS),
                    default="topk",
                    tooltip="topk keeps k features of each token; batchtopk k of each on average while it trains.",
                ),
                io.Int.Input("training_steps", default=3000, min=1, max=1_000_000, tooltip="Steps of training."),
                io.Int.Input("batch_tokens", default=2048, min=16, max=1 << 20, tooltip="Tokens in a training step."),
                io.Int.Input(
                    "pictures",
                    default=128,
                    min=1,
                    max=65536,
                    tooltip="Drawn and kept in memory at once; when their tokens have been used, as many new ones are.",
                ),
                io.Int.Input(
                    "held_out", default=32, min=1, max=4096, tooltip="Pictures that only the figures are made of."
                ),
                io.Boolean.Input(
                    "labelled",
                    default=False,
                    tooltip="Lines are written 'cats | a cat'; then it is measured how well one feature detects each "
                    "label.",
                ),
                *sampling_inputs(),
                SAE.Input("start", optional=True, tooltip="An SAE of the same block and size to go on from."),
                sigmas_input(),
            ],
            outputs=[
                SAE.Output(display_name="sae", tooltip="The best one, as it was saved."),
                io.Image.Output(display_name="plot", tooltip="The loss, and what is left unexplained."),
                io.String.Output(display_name="report", tooltip="How good it is, on held-out pictures."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        name: str,
        hookpoint: str,
        kind: str,
        prompts: str,
        expansion: int,
        k: int,
        activation: str,
        training_steps: int,
        batch_tokens: int,
        pictures: int,
        held_out: int,
        labelled: bool,
        seed: int,
        start: HostedSAE | None = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        block = find_block(model, canonical_name(hookpoint), kind)
        check_clip(clip)
        path = own_sae(name)
        lines = parse_prompts(prompts)
        if not lines:
            raise SaeuronError("There are no prompts. Write at least one line that is not a # comment.")
        labels, texts = split_labels(lines, str) if labelled else ([], lines)
        drawing = SamplingSettings.from_inputs(**sampling)
        sizes = TrainingSettings(
            expansion * block.width, k, training_steps, batch_tokens, activation, seed=seed % 2**63
        )
        activations = HostActivations(model, clip, drawing, block, hookpoint, texts, labels, seed)
        job = Job(hookpoint, sizes, None if start is None else start.module)
        evaluations = max(1, training_steps // 10)
        settings = RunSettings(pictures, held_out, evaluations, evaluations, seed % 2**63, prefetch=False)
        placement = Placement(block.base_model, hookpoint, kind)
        asked = {
            "weights": weights_digest(model, clip.patcher),
            "place": [hookpoint, kind],
            "prompts": lines,
            "labelled": labelled,
            "drawing": [drawing.as_dict(), seed],
            "training": [sizes.as_dict(), asdict(settings)],
            "start": None if start is None else start.identity.as_dict(),
        }
        trained, began = _train(activations, job, settings, path, placement, checkpoint_folder(path, asked))
        recovered = activations.loss_recovered(trained.sae, _some(held_out))
        trained = trained._replace(report=replace(trained.report, loss_recovered=recovered))
        table = training_table(figures_of({name: trained}))
        plot = training_plot(trained.losses, trained.evaluated, name)
        hosted = host_sae(path, Placement())
        forget_checkpoints(path)
        text = f"Went on after step {began}, where it had been ended.\n{table}" if began else table
        return io.NodeOutput(hosted, as_image(plot[None]), table, ui=show_text(cls, text))


def _train(
    activations: HostActivations, job: Job, settings: RunSettings, path: Path, placement: Placement, folder: Path
) -> tuple[Trained, int]:
    """With how many steps were behind it already, from the checkpoint in `folder`.

    The best SAE is in `path` then, also where the run was interrupted.
    """
    import comfy.model_management

    plotted = PlottedProgress(job.settings.steps, path.stem)
    # Nodes run in inference mode, whose tensors can't be trained.
    with torch.inference_mode(False), torch.enable_grad():
        device = comfy.model_management.get_torch_device()
        run = TrainingRun(activations, [job], settings, folder, device)
        began = run.done
        for trained in run.trained().values():
            plotted.go_on(trained)
        try:
            run.run(plotted)
        finally:
            for trained in run.trained().values():
                figures = trained.report.figures(placement.base_model)
                save_sae(path, trained.sae, placement, figures=figures)
    (trained,) = run.trained().values()
    return trained, began


def _some(held_out: int) -> range:
    from ..saeuron.training.activations import HELD_OUT

    return range(HELD_OUT, HELD_OUT + min(held_out, LOSS_PICTURES))
