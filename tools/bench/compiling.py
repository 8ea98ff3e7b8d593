"""How often the edit breaks torch.compile's graph of a step; that is decided while tracing, so on any device."""

from __future__ import annotations

from typing import Any

from tools.evaluation.studio import load_miniature
from tools.miniature.build_feature_sets import HOOKPOINT, load_feature_set, load_sae
from tools.pack import pack

from .overhead import patched


def graph_breaks() -> dict[str, int]:
    """Breaks while one step of the miniature is compiled, without an edit and with one."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.utils import counters

    model, clip, _ = load_miniature("float32")
    edited = patched(model, load_sae(HOOKPOINT), [load_feature_set("cats", HOOKPOINT)])
    found = {}
    for name, patcher in (("plain", model.clone()), ("patched", edited)):
        set_torch_compile_wrapper(model=patcher, backend="eager")
        counters.clear()
        _one_step(patcher, clip)
        found[name] = sum(counters["graph_break"].values())
    return found


def _one_step(model: Any, clip: Any) -> None:
    settings = pack("nodes.host.sampling").SamplingSettings("euler", "sgm_uniform", 1, 1.0, 192, 192)
    shots = pack("saeuron.evaluation.painting").shots_of(["a cat in twemoji style"], 1, 0)
    for _ in pack("nodes.host.batches").BatchSampler(model, clip, settings, 1).run(model, shots):
        pass
