"""torch.compile at SDXL's full size: does an edit break its graph, and what does an edit add to a compiled step?"""

from __future__ import annotations

from functools import partial
from typing import Any

from .overhead import feature_sets, make, patched, step
from .timing import rounded, time_in_turns

ROUNDING = 1e-2  # latents are of size 1 to 10; the compiled code adds in another order


def measure(repeats: int = 9) -> dict[str, Any]:
    """What Dynamo counts while each way of patching is run for the first time, and seconds of later steps."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from torch._dynamo.utils import counters

    full = make(512)
    sets = feature_sets(full, 1)
    compiled = full.model.clone()
    set_torch_compile_wrapper(model=compiled, backend="inductor")
    edits = {
        "off": lambda model: model,
        "1 concept": lambda model: patched(model, full.sae, sets),
        "1 concept, another multiplier": lambda model: patched(model, full.sae, sets, -5.0),
    }
    counted: dict[str, dict[str, int]] = {}
    for name, edit in edits.items():
        counters.clear()
        difference = (step(full, edit(compiled)) - step(full, edit(full.model))).abs().max().item()
        if not difference < ROUNDING:
            raise RuntimeError(f"{name}: compiled, the step differs by {difference:.3g}.")
        breaks = sum(counters["graph_break"].values())
        counted[name] = {"graphs": counters["stats"]["unique_graphs"], "graph breaks": breaks}
    ways = {
        "not compiled": partial(step, full, full.model),
        **{name: partial(step, full, edit(compiled)) for name, edit in edits.items()},
    }
    return {"counted": counted, "seconds": rounded(time_in_turns(ways, repeats, warm_up=0))}
