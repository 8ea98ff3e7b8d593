"""torch.compile with the compiler that people use."""

from __future__ import annotations

import shutil

import pytest
import torch

from support.host_graph import Shot, sample, unlearn

SHOT = Shot(steps=1)
ROUNDING = 1e-3  # latents are of size 1 to 10; the compiled code adds in another order

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="inductor needs a C++ compiler; there is no gcc")


def compiled(model):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    wrapped = model.clone()
    set_torch_compile_wrapper(model=wrapped, backend="inductor")
    return wrapped


def test_inductor_in_both_orders(miniature, sae, cats):
    model = miniature[0]
    plain = sample(miniature, model, SHOT)
    expected = sample(miniature, unlearn(model, sae, cats), SHOT)
    assert (expected - plain).abs().max() > 100 * ROUNDING
    on_compiled = compiled(model)
    for patched in (unlearn(on_compiled, sae, cats), compiled(unlearn(model, sae, cats))):
        assert torch.allclose(sample(miniature, patched, SHOT), expected, rtol=0, atol=ROUNDING)
    assert torch.allclose(sample(miniature, on_compiled, SHOT), plain, rtol=0, atol=ROUNDING)
    assert torch.equal(sample(miniature, model, SHOT), plain)
