"""The host's guiders, each made from a MODEL and CONDITIONINGs by name."""

from __future__ import annotations


def cfg(model, texts):
    from comfy_extras.nodes_custom_sampler import CFGGuider

    return CFGGuider.execute(model, texts["positive"], texts["negative"], 2.0).result[0]


def basic(model, texts):
    from comfy_extras.nodes_custom_sampler import BasicGuider

    return BasicGuider.execute(model, texts["positive"]).result[0]


def dual(model, texts):
    from comfy_extras.nodes_custom_sampler import DualCFGGuider

    prompts = texts["positive"], texts["middle"], texts["negative"]
    return DualCFGGuider.execute(model, *prompts, 2.0, 2.0, "regular").result[0]


def nested_dual(model, texts):
    from comfy_extras.nodes_custom_sampler import DualCFGGuider

    prompts = texts["positive"], texts["middle"], texts["negative"]
    return DualCFGGuider.execute(model, *prompts, 2.0, 2.0, "nested").result[0]


def perp_neg(model, texts):
    from comfy_extras.nodes_perpneg import PerpNegGuider

    prompts = texts["positive"], texts["negative"], texts["empty"]
    return PerpNegGuider.execute(model, *prompts, 2.0, 1.0).result[0]
