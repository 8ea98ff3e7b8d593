"""Export the example workflows: `python -m tools.workflows`.

What `tools.workflows.examples` describes is built in the front end of a real ComfyUI, in Chromium, and exported by it:
``example_workflows/<name>.json``, and ``example_workflows/api/<name>.json`` in API format. Exporting twice writes the
same bytes. Pictures beside the files (``<name>.jpg``) are real results and come from `tools.thumbnails`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saeuron.files import write_atomically
from saeuron.json_text import format_json
from tools.host.browser import FOLDER as OUTPUT
from tools.host.browser import drive
from tools.host.server import ComfyServer
from tools.workflows.description import plan
from tools.workflows.examples import DESCRIPTIONS
from tools.workflows.prompts import API_FOLDER, FOLDER


def plans() -> dict[str, dict[str, Any]]:
    """Name -> what `export.mjs` builds."""
    return {name: plan(name, columns) for name, columns in DESCRIPTIONS.items()}


def contents(exported: dict[str, dict[str, Any]]) -> dict[Path, str]:
    """What the files are to hold, of the "exported" in the report of `export.mjs`."""
    return {
        folder / f"{name}.json": f"{format_json(parts[kind])}\n"
        for name, parts in exported.items()
        for folder, kind in ((FOLDER, "workflow"), (API_FOLDER, "prompt"))
    }


def main() -> None:
    script = Path(__file__).with_name("export.mjs")
    with ComfyServer() as server:
        report = drive(script, server.address, OUTPUT / "workflows", {"workflows": plans()})
    API_FOLDER.mkdir(exist_ok=True)
    for path, content in contents(report["exported"]).items():
        write_atomically(path, content.encode())
        print(f"wrote {path.relative_to(FOLDER)}")


if __name__ == "__main__":
    main()
