"""SDXL's real size, on random weights: the patch finds the block and does the method's arithmetic there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from support.host_graph import Spy, unlearn
from tools.bench.full_size import sdxl_model
from tools.pack import pack as import_from_pack
from tools.sae_files import write_unbox

D, N, K = 1280, 5120, 10


@pytest.fixture(scope="module")
def sdxl():
    return sdxl_model()


@pytest.fixture(scope="module")
def unbox_sae(pack):
    """A full-size SAE in sdxl-unbox's layout, through the node that loads it."""
    import folder_paths

    name = "unet.up_blocks.0.attentions.1_k10_hidden5120/final"
    path = Path(folder_paths.models_dir) / "saes" / name
    state = write_unbox(path, D, N, K, with_moments=False)
    return import_from_pack("nodes.load").SaeuronLoadSAE.execute(name, *["from file"] * 3).result[0], state


def test_one_patched_step_equals_the_formula_and_leaves_no_trace(sdxl, unbox_sae):
    import comfy.sample
    import comfy.samplers

    sae, state = unbox_sae
    features = [int(i) for i in torch.randperm(N, generator=torch.Generator().manual_seed(2))[:200]]
    document = {
        "format": "saeuron-feature-set", "version": "1.0", "concept": "random", "sae": sae.identity.as_dict(),
        "steps": [{"sigma": None, "features": [{"index": i, "mean_concept": 0.5, "mean_all": 0.01} for i in features]}],
    }  # fmt: skip
    feature_set = (
        import_from_pack("nodes.feature_sets")
        .SaeuronLoadFeatureSet.execute("pasted JSON", json.dumps(document))
        .result[0]
    )
    keys = set(sdxl.model_state_dict())
    patched = unlearn(sdxl, sae, feature_set, -20.0)

    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 4, 32, 32, generator=generator)
    context, pooled = torch.randn(1, 77, 2048, generator=generator), torch.randn(1, 1280, generator=generator)
    conditioning = [[context, {"pooled_output": pooled}]]

    def step(model):
        euler = comfy.samplers.sampler_object("euler")
        return comfy.sample.sample_custom(
            model, noise, 1.0, euler, torch.tensor([5.0, 0.0]), conditioning, conditioning, torch.zeros_like(noise),
            disable_pbar=True,
        )  # fmt: skip

    plain = step(sdxl)
    with Spy(sdxl) as spy:
        edited = step(patched)
    assert not torch.equal(plain, edited)
    assert torch.equal(step(sdxl), plain)
    assert set(sdxl.model_state_dict()) == set(patched.model_state_dict()) == keys

    # METHOD phase 3 in float64, from the file's own tensors.
    out = spy.outputs[0].double().permute(0, 2, 3, 1)
    update = out - spy.inputs[0].double().permute(0, 2, 3, 1)
    w_enc, w_dec = state["encoder.weight"].double(), state["decoder.weight"].double()
    z = (update - state["pre_bias"].double()) @ w_enc.T + state["latent_bias"].double()
    top = z.topk(K, dim=-1)
    f = torch.zeros_like(z).scatter(-1, top.indices, top.values).clamp(min=0)
    chosen = torch.zeros(N, dtype=torch.bool)
    chosen[features] = True
    f_edited = torch.where(chosen & (f > 0.01), -20.0 * 0.5 * f, f)
    expected = out + (f_edited - f) @ w_dec.T
    assert (f_edited != f).any(), "no selected feature fired; the test would prove nothing"
    found = spy.edited[0].double().permute(0, 2, 3, 1)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(out.abs().max()))


def test_an_sae_for_another_base_model_is_refused(sdxl, sae, cats):
    with pytest.raises(ValueError, match="belongs to saeuron-miniature, but the connected MODEL is sdxl"):
        unlearn(sdxl, sae, cats)


def test_the_miniature_refuses_an_sdxl_sae(miniature, unbox_sae):
    with pytest.raises(ValueError, match="belongs to sdxl-turbo"):
        import_from_pack("nodes.host.unet").find_site(miniature[0], unbox_sae[0].identity)
