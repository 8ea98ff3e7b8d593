"""The saved workflow on a real server: exact, without a trace, and cheap to change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tools.host.events import Event
from tools.host.server import ComfyServer, Interrupted, ServerError
from tools.host.unpack import REPOSITORY
from tools.workflows.prompts import Prompt, find_nodes, read_prompt, set_input


def draw(server: ComfyServer, prompt: dict[str, Any]) -> dict[str, np.ndarray]:
    """Title of the output node -> picture."""
    outputs = server.run(prompt)
    titles = {id_: node["_meta"]["title"] for id_, node in prompt.items()}
    return {titles[id_]: server.image(out["images"][0]) for id_, out in outputs.items() if "images" in out}


def changed(**inputs: Any) -> Prompt:
    """The example with other inputs of Unlearn."""
    prompt = read_prompt("unlearn_miniature")
    for name, value in inputs.items():
        set_input(prompt, name, value, class_type="SaeuronUnlearn")
    return prompt


def never_firing() -> Prompt:
    (loader,) = find_nodes(prompt := changed(), class_type="SaeuronLoadFeatureSet")
    shipped = REPOSITORY / "feature_sets" / prompt[loader]["inputs"]["feature_set_name"]
    document = json.loads(shipped.read_text(encoding="utf-8"))
    for step in document["steps"]:
        for feature in step["features"]:
            feature["mean_all"] = 1e9
    set_input(prompt, "feature_set_name", "pasted JSON", class_type="SaeuronLoadFeatureSet")
    set_input(prompt, "json", json.dumps(document), class_type="SaeuronLoadFeatureSet")
    return prompt


def test_unlearning_changes_the_picture_and_only_there(server):
    first = draw(server, changed())
    assert first["Before"].shape == first["After"].shape == (192, 192, 3)
    assert not np.array_equal(first["Before"], first["After"])
    again = draw(server, changed(multiplier=-40.0))
    assert np.array_equal(again["Before"], first["Before"]), "the base model saw the edit"
    assert not np.array_equal(again["After"], first["After"])


def test_what_changes_nothing_gives_the_same_pixels(server):
    before = draw(server, changed())["Before"]
    removed = changed()
    (unlearn,) = find_nodes(removed, class_type="SaeuronUnlearn")
    model = removed.pop(unlearn)["inputs"]["model"]
    for node in removed.values():
        node["inputs"] = {k: model if v == [unlearn, 0] else v for k, v in node["inputs"].items()}
    cases = {
        "multiplier that changes nothing": changed(rule="gamma", multiplier=1.0),
        "feature set that never fires": never_firing(),
        "node removed, or bypassed": removed,  # what the front end sends then: tests/browser
    }
    for name, prompt in cases.items():
        draw(server, changed())  # a patched run directly before
        assert np.array_equal(draw(server, prompt)["After"], before), name


def test_moving_the_slider_runs_only_what_depends_on_it(server):
    shown = draw(server, changed(multiplier=-3.0))
    for multiplier in (-13.5, -23.5):  # again and again, as while dragging
        prompt = changed(multiplier=multiplier)
        record = server.record(prompt)
        titles = [prompt[id_]["_meta"]["title"] for id_ in record.executed]
        ran = sorted(prompt[id_]["class_type"] for id_ in record.executed)
        assert ran == ["KSampler", "PreviewImage", "SaeuronUnlearn", "VAEDecode"]
        assert "Sample after" in titles and "After" in titles
        assert set(record.cached) == set(prompt) - set(record.executed)
        (after,) = find_nodes(prompt, title="After")
        picture = server.image(record.history["outputs"][after]["images"][0])
        assert not np.array_equal(picture, shown["After"])
        shown["After"] = picture


def test_the_preview_shows_the_effective_factors(server):
    prompt = changed(multiplier=-7.0)
    (unlearn,) = find_nodes(prompt, class_type="SaeuronUnlearn")
    text = server.run(prompt)[unlearn]["text"][0]
    assert "multiplier -7" in text and "where above" in text


STEPS = 4


def statistics_prompt(prompts: str) -> dict[str, Any]:
    settings = {
        "sampler_name": "euler",
        "scheduler": "sgm_uniform",
        "steps": STEPS,
        "cfg": 1.0,
        "width": 64,
        "height": 64,
    }
    loader = {"sae_name": "miniature-up_blocks.0.attentions.1.safetensors"}
    loader |= dict.fromkeys(("hookpoint", "kind", "base_model"), "from file")
    collect = {"model": ["1", 0], "clip": ["1", 1], "sae": ["2", 0], "seed": 0, **settings}
    select = {"concept": "cats", "tau": 3, "per_step": True, "dead": 0.01, "overactive": 0.99, "rate_unit": "image"}
    return {
        "1": {"class_type": "SaeuronLoadMiniature", "inputs": {}},
        "2": {"class_type": "SaeuronLoadSAE", "inputs": loader},
        "3": {"class_type": "SaeuronCollectStatistics", "inputs": {**collect, "prompts": prompts}},
        "4": {"class_type": "SaeuronCollectStatistics", "inputs": {**collect, "prompts": "a dog\na tower"}},
        "5": {"class_type": "SaeuronSelectFeatures",
              "inputs": {"concept_statistics": ["3", 0], "other_statistics": ["4", 0], **select}},
        "6": {"class_type": "SaeuronSaveFeatureSet",
              "inputs": {"feature_set": ["5", 0], "name": "test/cats", "overwrite": True}},
    }  # fmt: skip


def test_a_feature_set_is_computed_saved_and_its_statistics_are_cached(server):
    prompt = statistics_prompt("a cat\na cat in crayon style")
    server.run(prompt)
    saved = json.loads((server.base / "models" / "feature_sets" / "test" / "cats.json").read_text(encoding="utf-8"))
    assert saved["concept"] == "cats" and len(saved["steps"]) == STEPS
    assert all(len(step["features"]) == 3 for step in saved["steps"])
    prompt["5"]["inputs"]["tau"] = 4
    record = server.record(prompt)
    assert {prompt[id_]["class_type"] for id_ in record.executed} == {"SaeuronSelectFeatures", "SaeuronSaveFeatureSet"}


def test_collecting_reports_progress_and_stops_when_interrupted(server):
    prompt = statistics_prompt("\n".join(f"a cat number {i}" for i in range(40)))
    seen: dict[int, list[int]] = {}

    def interrupt_at_the_third_step(event: Event) -> None:
        if event.type == "progress" and event.data["node"] == "3":
            seen.setdefault(event.data["max"], []).append(event.data["value"])
            if len(seen.get(40 * STEPS, ())) == 3:
                server.interrupt()

    record = server.record(prompt, interrupt_at_the_third_step)
    with pytest.raises(Interrupted):
        server.wait(record.prompt_id)
    encoded, drawn = seen.items()  # first the bar of the prompts, then that of their steps
    # Newer hosts tell only what is ten times a second at most.
    assert encoded[0] == encoded[1][-1] == 41 and encoded[1] == sorted(encoded[1]), "the prompts and the negative one"
    assert drawn[0] == 40 * STEPS and drawn[1] == sorted(drawn[1]) and drawn[1][-1] < 40 * STEPS


def test_collecting_goes_on_where_it_was_interrupted(server):
    prompt = statistics_prompt("\n".join(f"a cat in {i} colours" for i in range(20)))
    first_batch = 16 * STEPS

    def interrupt_in_the_second_batch(event: Event) -> None:
        if event.type == "progress" and event.data["node"] == "3" and event.data["value"] > first_batch:
            server.interrupt()

    record = server.record(prompt, interrupt_in_the_second_batch)
    with pytest.raises(Interrupted):
        server.wait(record.prompt_id)
    again = server.record(prompt)
    server.wait(again.prompt_id)
    assert min(value for value, whole in again.progress("3") if whole == 20 * STEPS) > first_batch
    saved = server.base / "models" / "feature_sets" / "test" / "cats.json"
    resumed = saved.read_bytes()
    server.request("/free", {"unload_models": True, "free_memory": True})
    server.run(prompt)
    assert saved.read_bytes() == resumed


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        ("SaeuronLoadSAE", {"sae_name": "missing.safetensors"}, "no SAE named 'missing.safetensors'"),
        ("SaeuronLoadSAE", {"sae_name": "../weights/unet.safetensors"}, r"\.\."),
        ("SaeuronLoadFeatureSet", {"feature_set_name": "../../pyproject.toml"}, r"\.\."),
        ("SaeuronLoadFeatureSet", {"feature_set_name": "sdxl-turbo/cats.json"}, "another SAE"),
        ("SaeuronUnlearn", {"multiplier": -1e9}, "smaller than min"),
        ("SaeuronUnlearn", {"multiplier": "much"}, "multiplier"),
        ("SaeuronUnlearn", {"mode": "magic"}, "magic"),
    ],
)
def test_wrong_input_is_refused_with_a_clear_message_and_changes_nothing(server, node, inputs, message):
    good = changed()
    expected = draw(server, good)["After"]
    bad = changed()
    for name, value in inputs.items():
        set_input(bad, name, value, class_type=node)
    with pytest.raises(ServerError, match=message):
        server.run(bad)
    assert np.array_equal(draw(server, good)["After"], expected)
