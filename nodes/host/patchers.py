"""Modules of ours inside the host's ``ModelPatcher``, so that it loads, offloads, copies and accounts for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...saeuron.sae.files import Placement, load_sae
from .sockets import HostedSAE

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher


def patcher_for(module: Any, whole: bool = False) -> ModelPatcher:
    """The patcher that the host gives to models of its own, for its device.

    A newer host's loads weights when they are needed, if all models of a run are in such patchers. With `whole` it is
    the plain one, for modules that only work when all of their weights are on the device.
    """
    import comfy.model_management
    import comfy.model_patcher

    plain = comfy.model_patcher.ModelPatcher
    kind = plain if whole else getattr(comfy.model_patcher, "CoreModelPatcher", plain)
    return kind(
        module,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def made_again_by(patcher: ModelPatcher, make: Callable[..., ModelPatcher], *arguments: Any) -> ModelPatcher:
    """`patcher`, which a newer host may have made again, for another device, by ``make(*arguments)``.

    The host may add ``disable_dynamic=True``, which asks for a plain patcher. A deep copy on a second GPU needs it.
    """
    if hasattr(patcher, "cached_patcher_init"):
        patcher.cached_patcher_init = (make, arguments)
    return patcher


def host_sae(path: Path, placement: Placement) -> HostedSAE:
    """The SAE in `path`, made of the host's operations. Errors: as `load_sae`."""
    import comfy.ops

    loaded = load_sae(path, placement, operations=comfy.ops.manual_cast)
    patcher = made_again_by(patcher_for(loaded.sae), _patcher_of_sae, path, placement)
    return HostedSAE(patcher, loaded.identity, figures=loaded.figures, note=loaded.note())


def _patcher_of_sae(path: Path, placement: Placement, disable_dynamic: bool = False) -> ModelPatcher:
    hosted = host_sae(path, placement)
    return patcher_for(hosted.module, whole=True) if disable_dynamic else hosted.patcher
