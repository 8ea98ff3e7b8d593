"""What nodes say of a run, true whatever other packs do in it."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from support.host_graph import Shot, sample, steer, unlearn
from support.other_packs import with_own_pass
from tools.pack import pack

SMALL = Shot(steps=4, width=64, height=64)


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """What the node Unlearn shows of its runs."""
    texts: list[str] = []
    monkeypatch.setattr(
        pack("nodes.host.runs"), "send_text", lambda text, _: texts.append(text) if text.startswith("edited") else None
    )
    return texts


@pytest.mark.parametrize(
    ("skipped", "line"),
    [((), None), ((2,), "not run at step 2:"), ((2, 4), "not run at steps 2, 4:"), ((1, 2, 3, 4), "steps 1, 2, 3, 4:")],
)
def test_steps_that_another_pack_draws_itself_are_named(miniature, sae, cats, shown, caplog, skipped, line):
    sample(miniature, with_own_pass(unlearn(miniature[0], sae, cats), skipped), SMALL)
    assert line in shown[-1] if line else "not run" not in shown[-1]
    assert ("Unlearn had no effect" in caplog.text) == (len(skipped) == 4)


def test_the_node_that_had_no_effect_is_named(miniature, sae, caplog):
    sample(miniature, with_own_pass(steer(miniature[0], sae, "3: 40"), (1, 2, 3, 4)), SMALL)
    assert "Steer Features had no effect" in caplog.text and "Unlearn" not in caplog.text


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_sde", "dpm_adaptive", "dpm_fast", "lcm", "uni_pc"])
def test_samplers_with_calls_of_their_own_get_no_false_word(miniature, sae, cats, shown, caplog, sampler):
    sample(miniature, unlearn(miniature[0], sae, cats), SMALL._replace(sampler=sampler))
    assert "not run" not in shown[-1] and "no effect" not in caplog.text


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_options_that_another_pack_copies_still_count(miniature, sae, cats, shown, caplog, how):
    model = unlearn(miniature[0], sae, cats).clone()
    model.set_model_unet_function_wrapper(lambda apply, a: apply(a["input"], a["timestep"], **how(a["c"])))
    sample(miniature, model, SMALL)
    assert "edited in this run: 0" not in shown[-1] and "no effect" not in caplog.text


@pytest.mark.parametrize("sigmas", [[], [1.0], [0.0], [1.0, 0.0, 0.0]], ids=str)
def test_a_run_without_a_step_is_no_reason_to_warn(miniature, sae, cats, caplog, sigmas):
    caplog.set_level(logging.WARNING, "saeuron")
    plain = sample(miniature, miniature[0], SMALL, sigmas=torch.tensor(sigmas))
    patched = sample(miniature, unlearn(miniature[0], sae, cats, 1.0, rule="gamma"), SMALL, sigmas=torch.tensor(sigmas))
    assert torch.equal(plain.nan_to_num(), patched.nan_to_num())  # from 0 to 0 the host divides 0 by 0
    assert "no effect" not in caplog.text


def test_a_lora_on_one_conditioning_is_edited_once_a_call(miniature, sae, cats, shown):
    import comfy.hooks
    import comfy.lora
    from nodes import ConditioningCombine, KSampler

    model, clip = miniature[0], miniature[1]
    weights, generator = model.model.state_dict(), torch.Generator().manual_seed(1)
    lora = {}
    for name, key in comfy.lora.model_lora_keys_unet(model.model, {}).items():
        if isinstance(key, str) and name.startswith("lora_unet_") and "attn2_to_" in name and key in weights:
            rows, columns = weights[key].shape
            lora[f"{name}.lora_up.weight"] = torch.randn(rows, 2, generator=generator) * 0.1
            lora[f"{name}.lora_down.weight"] = torch.randn(2, columns, generator=generator) * 0.1
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
    text = clip.encode_from_tokens_scheduled(clip.tokenize("a cat in twemoji style"))
    both = ConditioningCombine().combine([[c, {**o, "hooks": hooks}] for c, o in text], text)[0]

    def draw(patched):
        latent = {"samples": torch.zeros(1, 4, 8, 8)}
        return KSampler().sample(patched, 5, 2, 1.0, "euler", "sgm_uniform", both, text, latent, 1.0)[0]["samples"]

    plain = draw(model)
    assert not torch.equal(plain, sample(miniature, model, SMALL._replace(steps=2)))
    assert torch.equal(draw(unlearn(model, sae, cats, 1.0, rule="gamma")), plain)
    assert not torch.equal(draw(unlearn(model, sae, cats)), plain)
    assert "of 16 tokens" in shown[-1], "2 steps of 2 conditionings of 4 tokens, each once"
