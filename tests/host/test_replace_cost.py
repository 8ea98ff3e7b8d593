"""What Replace Concept costs, counted: passes, keys and values, tokens, and waiting for the device."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode

from support.replacing import CAT, TOWER, Draw, decided, draw

STEPS = 3
HOW = Draw(steps=STEPS, batch=2)
FIRST, LAST = "input_blocks.4.1", "output_blocks.5.1"
"""The first block with cross-attention, and the last, which comes after the one where the SAE reads."""


@contextmanager
def inputs_of(model, path):
    """The shapes that the module at `path` of the UNet is called with."""
    shapes = []
    module = model.get_model_object("diffusion_model").get_submodule(path)
    handle = module.register_forward_pre_hook(lambda _module, inputs: shapes.append(tuple(inputs[0].shape)))
    try:
        yield shapes
    finally:
        handle.remove()


@pytest.mark.parametrize(("prompt", "begun"), [(CAT, STEPS + 1), (TOWER, STEPS)])
def test_one_call_more_in_a_run_and_that_only_up_to_the_hookpoint(miniature, cat_to_dog, prompt, begun):
    with inputs_of(miniature[0], FIRST) as first, inputs_of(miniature[0], LAST) as last:
        draw(miniature, cat_to_dog(miniature[0]), prompt, Draw(steps=STEPS))
    assert (len(first), len(last)) == (begun, STEPS)


@pytest.mark.parametrize("projection", ["to_k", "to_v"])
def test_each_layer_reads_the_two_texts_once_a_run(miniature, cat_to_dog, cat_and_tower, projection):
    model = cat_to_dog(miniature[0])
    for _ in range(2):
        with inputs_of(miniature[0], f"{LAST}.transformer_blocks.0.attn2.{projection}") as shapes:
            draw(miniature, model, cat_and_tower, HOW)
        assert Counter(shapes) == {(2, 77, 128): STEPS, (1, 77, 128): 2}


def test_only_marked_tokens_get_the_two_answers(miniature, cat_to_dog, cat_and_tower):
    model, attn = cat_to_dog(miniature[0]), f"{LAST}.transformer_blocks.0.attn2"
    with inputs_of(miniature[0], f"{attn}.to_q") as asked, inputs_of(miniature[0], f"{attn}.to_out.0") as answered:
        draw(miniature, model, cat_and_tower, HOW)
    marked = sum(int((mask > 0).sum()) for mask in decided(model).values() if mask is not None)
    assert 0 < marked < 16
    assert Counter(shape[:2] for shape in asked) == {(2, 16): STEPS, (1, marked): STEPS}
    assert Counter(shape[:2] for shape in answered) == {(2, 16): STEPS, (1, marked + 1): STEPS}  # and the bias


class Waits(TorchFunctionMode):
    """Counts what makes Python wait for a GPU: values that it asks for, and shapes that depend on values."""

    ASKING = (
        "tolist",
        "item",
        "__bool__",
        "__float__",
        "__int__",
        "__index__",
        "nonzero",
        "masked_select",
        "equal",
        "cpu",
    )

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = function.__name__
        by_mask = name in ("__getitem__", "__setitem__") and getattr(args[1], "dtype", None) == torch.bool
        own_tags = name == "tolist" and args[0].dtype == torch.int64  # which are on the CPU
        if by_mask or (name in self.ASKING and not own_tags):
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_later_calls_wait_for_nothing(miniature, cat_to_dog, cat_and_tower, guidance):
    def waits(model):
        """Of each call of the model."""
        counted, watched = [], model.clone()

        def look(apply, arguments):
            with Waits() as mode:
                result = apply(arguments["input"], arguments["timestep"], **arguments["c"])
            counted.append(mode.found)
            return result

        watched.set_model_unet_function_wrapper(look)
        draw(miniature, watched, cat_and_tower, HOW._replace(cfg=guidance))
        return counted

    plain, (first, *later) = waits(miniature[0]), waits(cat_to_dog(miniature[0]))
    assert not any(plain)
    assert first["nonzero"]
    noise_level = {"__float__": 1}
    assert len(later) == STEPS - 1 and all(found == noise_level for found in later)
    # In the first call: whether a gate is open, and what is marked on each size of map; nothing for each layer.
    assert first.total() < 11
