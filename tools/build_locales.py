"""Build the shipped translations of all nodes: `python -m tools.build_locales`.

`tools/translations/<language>.json` maps what nodes say in English, names and texts, to another language; this writes
``locales/<language>/nodeDefs.json``, which the host reads, for every node of the running pack. A text that has changed
in a node has no translation any more and is reported, so translations can't fall behind unseen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.host.server import ComfyServer
from tools.host.unpack import REPOSITORY

TRANSLATIONS = REPOSITORY / "tools" / "translations"
FOLDER = REPOSITORY / "locales"
LANGUAGES = ("de", "ja", "zh")


class Dictionary:
    """One language; remembers what it was asked for."""

    def __init__(self, language: str) -> None:
        document = json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8"))
        self._entries: dict[str, dict[str, str]] = {kind: document[kind] for kind in ("names", "texts")}
        self._asked: dict[str, set[str]] = {kind: set() for kind in self._entries}

    def look_up(self, kind: str, english: str) -> str:
        """The translation of one of the ``names`` or ``texts``; the English itself where there is none."""
        self._asked[kind].add(english)
        return self._entries[kind].get(english, english)

    def missing(self) -> list[str]:
        return sorted(text for kind, asked in self._asked.items() for text in asked - set(self._entries[kind]))

    def stale(self) -> list[str]:
        """Translations of what no node says any more."""
        return sorted(text for kind, known in self._entries.items() for text in set(known) - self._asked[kind])


def node_definitions(object_info: Mapping[str, Any], dictionary: Dictionary) -> dict[str, Any]:
    """What the host calls nodeDefs: names and tooltips of the pack's nodes, their inputs and their outputs."""
    return {
        node_id: {
            "display_name": dictionary.look_up("names", info["display_name"]),
            "description": dictionary.look_up("texts", info["description"]),
            "inputs": {
                name: _labelled(dictionary, name, spec[1].get("tooltip") if len(spec) > 1 else None)
                for part in ("required", "optional")
                for name, spec in info["input"].get(part, {}).items()
            },
            "outputs": {
                str(number): _labelled(dictionary, name, tooltip)
                for number, (name, tooltip) in enumerate(
                    zip(info["output_name"], info.get("output_tooltips") or [], strict=True)
                )
            },
        }
        for node_id, info in sorted(object_info.items())
        if node_id.startswith("Saeuron")
    }


def _labelled(dictionary: Dictionary, name: str, tooltip: str | None) -> dict[str, str]:
    label = {"name": dictionary.look_up("names", name)}
    return {**label, "tooltip": dictionary.look_up("texts", tooltip)} if tooltip else label


def build_all(object_info: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Path below `FOLDER` -> content; and what is missing or stale, a line each."""
    contents, problems = {}, []
    for language in LANGUAGES:
        dictionary = Dictionary(language)
        definitions = node_definitions(object_info, dictionary)
        contents[f"{language}/nodeDefs.json"] = json.dumps(definitions, ensure_ascii=False, indent=2) + "\n"
        problems += [f"{language}: no translation of {text!r}" for text in dictionary.missing()]
        problems += [f"{language}: no node says {text!r}" for text in dictionary.stale()]
    return contents, problems


def read_object_info(saved: Path | None) -> dict[str, Any]:
    """What `saved` holds, or the answer of a real server with the pack."""
    if saved is not None:
        return dict(json.loads(saved.read_text(encoding="utf-8")))
    with ComfyServer() as server:
        return server.object_info()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.build_locales", description=__doc__.splitlines()[0])
    parser.add_argument("--object-info", type=Path, help="a saved answer to /object_info, instead of starting a server")
    contents, problems = build_all(read_object_info(parser.parse_args().object_info))
    for name, content in contents.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")
        print(f"wrote {name}")
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
