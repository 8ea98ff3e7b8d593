"""Text shown on a node: live through the server, and in the run's outputs for those who use the API."""

from __future__ import annotations

import sys
from typing import Any

from comfy_api.v0_0_2 import ui


def show_text(node: Any, text: str) -> ui.PreviewText:
    """`node` is the class that executes, with ``io.Hidden.unique_id`` in its schema.

    The front end draws the ``text`` output of its own PreviewAny only, so it is sent as the node's progress text, too.
    """
    hidden = getattr(node, "hidden", None)
    module = sys.modules.get("server")  # not imported: where no server runs, a node must not begin to load one
    if hidden is not None and hidden.unique_id is not None and module is not None:
        module.PromptServer.instance.send_progress_text(text, hidden.unique_id)
    return ui.PreviewText(text)
