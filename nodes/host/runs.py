"""What a node shows beside its outputs: text, live and in the run's outputs; results of a run that did not end."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from comfy_api.v0_0_2 import ui

from ...saeuron.errors import SaeuronError
from ...saeuron.files import write_atomically, write_png


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


def keep_unfinished(name: str, picture: np.ndarray, figures: Any) -> None:
    """Save what a run has so far to the host's output folder, as PNG and JSON, under a name that is not taken.

    `picture` is uint8 [H, W, 3], `figures` JSON values. Where nothing can be written the log says so, because what
    ended the run is what its node has to show.
    """
    import folder_paths

    log = logging.getLogger("saeuron")
    folder = Path(folder_paths.get_output_directory()) / "saeuron"
    number = 1
    while (path := folder / f"{name}_{number:05d}_unfinished.png").exists():
        number += 1
    try:
        write_png(path, picture)
        write_atomically(path.with_suffix(".json"), f"{json.dumps(figures, indent=2)}\n".encode())
    except SaeuronError as error:
        log.warning("The run did not end, and what there is of it is lost: %s", error)
    else:
        log.info("The run did not end; what there is so far is in %s.", path)
