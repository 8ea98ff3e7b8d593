"""What other packs do with a call of the UNet: model function wrappers, as the host lets them be set."""

from __future__ import annotations

import copy

import torch


def part_of(value, rows):
    return value[rows] if isinstance(value, torch.Tensor) else value


def one_by_one(apply, args):
    parts = [
        apply(args["input"][[i]], args["timestep"][[i]], **{k: part_of(v, [i]) for k, v in args["c"].items()})
        for i in range(len(args["input"]))
    ]
    return torch.cat(parts)


def reordered(apply, args):
    order = list(reversed(range(len(args["input"]))))
    c = {name: part_of(value, order) for name, value in args["c"].items()}
    return apply(args["input"][order], args["timestep"][order], **c)[order]


def copied(apply, args):
    return apply(args["input"], args["timestep"], **copy.deepcopy(args["c"]))


def stacked(apply, args):
    """Each row twice, as packs do that average over augmentations."""
    twice = [row for row in range(len(args["input"])) for _ in range(2)]
    c = {name: part_of(value, twice) for name, value in args["c"].items()}
    return apply(args["input"][twice], args["timestep"][twice], **c)[::2]


def known_arguments_only(apply, args):
    known = {name: args["c"][name] for name in ("c_crossattn", "y", "transformer_options")}
    return apply(args["input"], args["timestep"], **known)


def tiles(apply, args):
    half = args["input"].shape[-1] // 2
    parts = [apply(part, args["timestep"], **args["c"]) for part in args["input"].split(half, dim=-1)]
    return torch.cat(parts, -1)


def wrapped(model, wrapper):
    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


def with_own_pass(model, skipped):
    """A pack that runs the UNet's parts itself at the calls of these numbers, as caches of features do."""
    calls = []

    def wrapper(apply, args):
        calls.append(1)
        if len(calls) not in skipped:
            return apply(args["input"], args["timestep"], **args["c"])
        base, c, x, sigma = apply.__self__, args["c"], args["input"], args["timestep"]
        prediction = base.diffusion_model._forward(
            base.model_sampling.calculate_input(sigma, x),
            base.model_sampling.timestep(sigma).float(),
            context=c["c_crossattn"],
            y=c["y"],
            transformer_options=c["transformer_options"],
        )
        return base.model_sampling.calculate_denoised(sigma, prediction.float(), x)

    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model
