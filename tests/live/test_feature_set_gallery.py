"""A set is saved with pictures and browsed, on a real server: by the graph and in the pixels."""

from __future__ import annotations

from typing import Any

COLOURS = {"before": 0xFF0000, "after": 0x0000FF}


def saving(name: str, **pictures: int) -> dict[str, Any]:
    """A graph that saves a shipped set with plain pictures of these colours."""
    graph: dict[str, Any] = {
        "load": {
            "class_type": "SaeuronLoadFeatureSet",
            "inputs": {"feature_set_name": "sdxl-turbo/cats.json", "json": ""},
        },
        "save": {
            "class_type": "SaeuronSaveFeatureSet",
            "inputs": {"feature_set": ["load", 0], "name": name, "overwrite": True},
        },
    }
    for input_, colour in pictures.items():
        inputs = {"width": 64, "height": 64, "batch_size": 1, "color": colour}
        graph[input_] = {"class_type": "EmptyImage", "inputs": inputs}
        graph["save"]["inputs"][input_] = [input_, 0]
    return graph


def browse(filter_: str) -> dict[str, Any]:
    inputs = {"filter": filter_, "base_model": "any"}
    return {
        "browse": {"class_type": "SaeuronBrowseFeatureSets", "inputs": inputs},
        "table": {"class_type": "PreviewAny", "inputs": {"source": ["browse", 1]}},
    }


def test_a_set_saved_with_pictures_is_browsed_without_a_restart(server):
    server.run(saving("gallery/plain"))
    first = server.run(browse("gallery/"))
    assert first["table"]["text"][0].startswith("gallery/plain.json: cats, sdxl-turbo")
    assert not server.record(browse("gallery/")).executed, "nothing has changed"

    server.run(saving("gallery/pictured", **COLOURS))
    second = server.run(browse("gallery/"))
    files = [line.split(":")[0] for line in second["table"]["text"][0].splitlines()]
    assert files == ["gallery/pictured.json", "gallery/plain.json"]
    redder = [server.image(found["browse"]["images"][0]).astype(int) @ (1, 0, -1) for found in (first, second)]
    assert (abs(redder[0]) < 100).all(), "a set without a picture has a plain tile"
    assert redder[1].max() > 200 and redder[1].min() < -200
    left_to_right = [(redder[1] > 200).nonzero()[1].max(), (redder[1] < -200).nonzero()[1].min()]
    assert left_to_right[0] < left_to_right[1], "before is left of after"


def test_load_feature_set_shows_the_picture_of_a_set(server):
    saved = server.run(saving("shown/pictured", **COLOURS))
    assert "images" not in saved["load"], "the shipped set has none"
    graph = saving("shown/again")
    graph["load"]["inputs"]["feature_set_name"] = "shown/pictured.json"
    loaded = server.run(graph)["load"]
    assert loaded["text"][0].startswith("cats: ")
    redder = server.image(loaded["images"][0]).astype(int) @ (1, 0, -1)
    assert redder[:, 0].min() > 200 and redder[:, -1].max() < -200, "before is left of after"


def test_a_broken_file_is_told_of_and_the_rest_is_shown(server):
    server.run(saving("broken/good"))
    folder = server.base / "models" / "feature_sets" / "broken"
    (folder / "bad.json").write_text('{"format": "saeuron-feature-set", "version": "1.2"}', encoding="utf-8")
    outputs = server.run(browse("broken/"))
    lines = outputs["table"]["text"][0].splitlines()
    assert lines[0].startswith("broken/bad.json: can't be read. bad.json: 'concept' must be text")
    assert lines[1].startswith("broken/good.json: cats")
    assert len(outputs["browse"]["images"]) == 1
