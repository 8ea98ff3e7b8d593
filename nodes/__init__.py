"""The pack's ComfyUI nodes. Nothing of the host is imported before it is known to have what they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .host.requirements import check_host

if TYPE_CHECKING:
    from .extension import SaeuronExtension


async def comfy_entrypoint() -> SaeuronExtension:
    """What the host calls. Errors: `ImportError` for a host that is too old or too new."""
    check_host()
    from .extension import SaeuronExtension

    return SaeuronExtension()
