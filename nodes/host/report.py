"""What a node shows beside its outputs: text, live and in the run's outputs; results of a run that did not end."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from comfy_api.v0_0_2 import ui


def node_id_of(node: Any) -> str | None:
    """`node` is the class that executes, with ``io.Hidden.unique_id`` in its schema; None outside a running graph."""
    hidden = getattr(node, "hidden", None)
    return None if hidden is None else hidden.unique_id


def send_text(text: str, node_id: str | None) -> None:
    """Show `text` on a node in the browser; nowhere if `node_id` is None or no server runs."""
    # Not imported: where no server runs, a node must not begin to load one. The name is a common one, so what bears it
    # need not be the host's, and the host's has no instance before it starts.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if node_id is not None and server is not None:
        server.send_progress_text(text, node_id)


def show_text(node: Any, text: str) -> ui.PreviewText:
    """`node` is as for `node_id_of`.

    The front end draws the ``text`` output of its own PreviewAny only, so it is sent as the node's progress text, too.
    """
    send_text(text, node_id_of(node))
    return ui.PreviewText(text)


def keep_unfinished(name: str, picture: np.ndarray, figures: Any) -> Path:
    """Save what a run has so far to the host's output folder, as PNG and JSON, under a name that is not taken.

    Returns the PNG's path. `picture` is uint8 [H, W, 3], `figures` JSON values.
    """
    import folder_paths
    from PIL import Image

    folder = Path(folder_paths.get_output_directory()) / "saeuron"
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := folder / f"{name}_{number:05d}_unfinished.png").exists():
        number += 1
    Image.fromarray(picture).save(path)
    path.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    logging.getLogger("saeuron").info("The run did not end; what there is so far is in %s.", path)
    return path
