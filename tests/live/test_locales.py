"""German, Chinese and Japanese: every name and tooltip of the running pack, none left over, served by the host."""

from __future__ import annotations

import json

import pytest

from tools.build_locales import FOLDER, LANGUAGES, build_all
from tools.host.server import ComfyServer


def test_everything_is_translated_and_nothing_is_stale(server: ComfyServer) -> None:
    contents, problems = build_all(server.object_info())
    assert not problems, "\n".join(problems)
    for name, content in contents.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content, f"run python -m tools.build_locales: {name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_host_serves_them_for_every_node_input_and_output(server: ComfyServer, language: str) -> None:
    served = server.get("/i18n")[language]["nodeDefs"]
    info = {name: node for name, node in server.object_info().items() if name.startswith("Saeuron")}
    assert {name for name in served if name.startswith("Saeuron")} == set(info)
    for name, node in info.items():
        inputs = [input_ for part in ("required", "optional") for input_ in node["input"].get(part, {})]
        assert list(served[name]["inputs"]) == inputs
        assert list(served[name]["outputs"]) == [str(number) for number in range(len(node["output"]))]
        assert served[name]["display_name"] != node["display_name"]
        assert served[name]["description"] != node["description"]


def test_every_input_and_output_has_a_tooltip_in_every_language(server: ComfyServer) -> None:
    served = server.get("/i18n")
    for name, node in server.object_info().items():
        if not name.startswith("Saeuron"):
            continue
        for part in ("required", "optional"):
            for input_, (_, options, *_) in node["input"].get(part, {}).items():
                said = {language: served[language]["nodeDefs"][name]["inputs"][input_] for language in LANGUAGES}
                _check_tooltips(f"{name}.{input_}", options["tooltip"], said)
        assert len(node["output_tooltips"]) == len(node["output"]), name
        for number, tooltip in enumerate(node["output_tooltips"]):
            said = {language: served[language]["nodeDefs"][name]["outputs"][str(number)] for language in LANGUAGES}
            _check_tooltips(f"{name}, output {number}", tooltip, said)


def _check_tooltips(where: str, english: str, said: dict[str, dict[str, str]]) -> None:
    """One for each language, and none a copy of another's."""
    tooltips = [english, *(entry["tooltip"] for entry in said.values())]
    assert all(tooltips) and len(set(tooltips)) == len(tooltips), where


def test_a_changed_text_is_reported(server: ComfyServer) -> None:
    info = json.loads(json.dumps(server.object_info()))
    info["SaeuronUnlearn"]["description"] = "Something else."
    _, problems = build_all(info)
    assert len(problems) == 2 * len(LANGUAGES)
    assert "de: no translation of 'Something else.'" in problems
    assert any(problem.startswith("ja: no node says") for problem in problems)
