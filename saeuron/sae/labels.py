"""What people call an SAE's features: a file beside it that says {"<index>": "<label>"}."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as brief  # what strangers wrote may be long

from ..errors import SaeuronError
from ..files import find_in, read_text
from ..json_text import parse_json

LABELS = "labels.json"
MAX_BYTES = 4 << 20
MAX_LABEL = 200
"""Characters of one label."""


def labels_path(sae: Path) -> Path | None:
    """The labels of the SAE file or folder `sae`, None if there are none.

    In a folder it is ``labels.json``; beside a file ``name.safetensors`` it is ``name.labels.json``, or ``labels.json``
    if there is none of that name.
    """
    if sae.is_dir():
        return find_in(sae, LABELS)
    return find_in(sae.parent, f"{sae.stem}.{LABELS}") or find_in(sae.parent, LABELS)


def read_labels(path: Path, n: int) -> dict[int, str]:
    """Index -> label, of an SAE with `n` features.

    Errors: `SaeuronError` for a file that is no plain JSON object, is too large, names a feature that the SAE does not
    have, or has a label that is no text of one line.
    """
    document = parse_json(read_text(path, MAX_BYTES), path.name)
    if not isinstance(document, dict):
        raise SaeuronError(f"{path.name} must be a JSON object of labels by feature index, found {brief(document)}.")
    labels: dict[int, str] = {}
    for key, label in document.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", key) or int(key) >= n:
            raise SaeuronError(f"{path.name}: {brief(key)} is no feature of this SAE; they are 0 to {n - 1}.")
        if not isinstance(label, str) or len(label) > MAX_LABEL or not label.isprintable():
            raise SaeuronError(
                f"{path.name}: the label of feature {key} must be one line of up to {MAX_LABEL} characters, "
                f"found {brief(label)}."
            )
        labels[int(key)] = label.strip()
    return labels


def named(index: int, labels: Mapping[int, str]) -> str:
    """The feature as text: its index, and its label where it has one."""
    return f"{index} ({labels[index]})" if labels.get(index) else str(index)
