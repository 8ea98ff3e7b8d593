"""The evaluation nodes on real values of the host: what they measure, and what a person gets wrong."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tools.host.unpack import REPOSITORY
from tools.pack import pack as import_from_pack

JUDGES = REPOSITORY / "saeuron" / "miniature" / "classifiers"


def node(name, module="evaluation"):
    return getattr(import_from_pack(f"nodes.{module}"), name)


def text(output) -> str:
    return output.ui.as_dict()["text"][0]


@pytest.fixture(scope="module")
def colours(pack):
    """A classifier, made as the node makes one, that tells red, blue and all else apart; nothing is random."""
    import folder_paths
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    folder = Path(folder_paths.models_dir) / "classifiers" / "colours"
    labels = {0: "red", 1: "blue", 2: "gray"}
    config = ResNetConfig(
        embedding_size=3, hidden_sizes=[3], depths=[1], layer_type="basic", hidden_act="relu", id2label=labels
    )
    with torch.inference_mode(False):
        model = ResNetForImageClassification(config)
        for name, parameter in model.named_parameters():
            parameter.data.zero_()
            if name.endswith("normalization.weight"):
                parameter.data.fill_(1.0)
        # A centre tap that hands each colour through; the one layer after it adds nothing, and relu clips nothing.
        stem = next(p for n, p in model.named_parameters() if "embedder" in n and "convolution" in n)
        stem.data[range(3), range(3), 3, 3] = 1.0
        head = model.classifier[-1]
        head.weight.data = torch.tensor([[1.0, 0, -1], [-1, 0, 1], [0, 0, 0]]) * 20
        head.bias.data = torch.tensor([0.0, 0, 2])
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.0] * 3, image_std=[1.0] * 3).save_pretrained(
        folder
    )
    yield node("SaeuronLoadClassifier").execute("colours").result[0]
    shutil.rmtree(folder)


def flat(*names: str) -> torch.Tensor:
    """IMAGE of one plain colour a picture."""
    rgb = {"red": (0.9, 0.1, 0.1), "blue": (0.1, 0.1, 0.9), "gray": (0.5, 0.5, 0.5)}
    return torch.tensor([rgb[name] for name in names])[:, None, None, :].repeat(1, 48, 48, 1)


def test_pictures_become_what_a_judge_takes(pack):
    to_pixels = import_from_pack("nodes.host.pictures").to_pixels
    pixels = to_pixels(torch.tensor([[[[0.0, 1.0, 0.5, 0.3]]], [[[-1.0, 2.0, 127 / 255, 0.0]]]]))
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[[[0, 255, 128]]], [[[0, 255, 127]]]]


def test_classifiers_are_listed_and_found(colours):
    import folder_paths

    folder_paths.filename_list_cache.clear()
    names = import_from_pack("nodes.host.folders").list_classifiers()
    assert {"miniature-objects", "miniature-styles", "colours"} <= set(names)
    # Not the judge of halves: it has to be shown one half at a time (`keep_half`), which no node does.
    assert not [name for name in names if "halves" in name]
    assert colours.classifier.labels == ("red", "blue", "gray")
    fingerprint = node("SaeuronLoadClassifier").fingerprint_inputs
    assert fingerprint(classifier_name="colours") == fingerprint(classifier_name="colours")
    assert fingerprint(classifier_name="colours") != fingerprint(classifier_name="miniature-objects")


def test_shipped_judges_load_and_say_their_labels(pack):
    output = node("SaeuronLoadClassifier").execute("miniature-objects")
    assert "20 labels: architectures, " in text(output)
    hosted = output.result[0]
    assert len(hosted.ready().classify(np.zeros((2, 192, 192, 3), np.uint8))) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"no classifier named 'missing'.*models/classifiers.*miniature-objects"),
        ("../saes", r"\.\."),
        ("..\\saes", r"\.\."),
        ("/etc", "can't be used"),
        ("C:\\x", "C:"),
        ("", "empty"),
    ],
)
def test_names_that_are_no_classifier(pack, name, message):
    with pytest.raises(ValueError, match=message):
        node("SaeuronLoadClassifier").execute(name)


def test_the_host_loads_and_unloads_a_classifier(colours):
    import comfy.model_management

    colours.ready()
    assert any(loaded.model is colours.patcher for loaded in comfy.model_management.current_loaded_models)
    comfy.model_management.unload_all_models()
    assert colours.ready().classify(np.full((1, 48, 48, 3), (230, 20, 20), np.uint8)) == ["red"]


def test_unlearning_accuracy_against_a_baseline(colours):
    execute = node("SaeuronUnlearningAccuracy").execute
    edited, plain = flat("gray", "blue", "red", "red"), flat("red", "red", "red", "blue")
    output = execute(edited, colours, "Red", plain)
    assert output.result[0] == 0.5 and output.result[1] == text(output)
    assert "UA of red: 50.0% (95 % interval" in text(output) and "of 4 pictures" in text(output)
    assert "Without the edit: 25.0%" in text(output)
    assert "Of 3 pictures that showed red without the edit, 66.7% lost it." in text(output)


def test_unlearning_accuracy_without_a_baseline_says_what_it_cannot_tell(colours):
    output = node("SaeuronUnlearningAccuracy").execute(flat("gray"), colours, "red")
    assert output.result[0] == 1.0
    assert "No un-ablated pictures" in text(output) and "1 picture" in text(output)


def test_a_baseline_that_misses_the_concept(colours):
    execute = node("SaeuronUnlearningAccuracy").execute
    output = execute(flat("gray", "blue"), colours, "red", flat("blue", "blue"))
    assert output.result[0] == 1.0
    assert "nothing to remove" in text(output) and "lost it" not in text(output)
    mostly = execute(flat("gray", "blue"), colours, "red", flat("red", "blue"))
    assert "Most un-ablated pictures miss the concept already" in text(mostly)


def test_retained_accuracy_by_label_and_for_one_label(colours):
    execute = node("SaeuronRetainAccuracy").execute
    images = flat("red", "red", "blue", "gray")
    output = execute(images, colours, "red\nblue\n\nblue\n gray ", flat("red", "blue", "blue", "blue"))
    assert output.result[0] == 0.75
    assert "blue: 50.0% of 2 pictures, 100.0% without the edit" in text(output)
    assert "Without the edit: 75.0%." in text(output)
    single = execute(images, colours, "red")
    assert single.result[0] == 0.5 and "Only one label" in text(single)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "no labels"),
        ("# red", "no labels"),
        ("red\nblue", "2 labels for 3 pictures"),
        ("green", "knows no 'green'. It knows: red, blue, gray"),
    ],
)
def test_labels_that_do_not_fit(colours, labels, message):
    with pytest.raises(ValueError, match=message):
        node("SaeuronRetainAccuracy").execute(flat("red", "red", "red"), colours, labels)


def test_inputs_that_can_not_be_measured(colours):
    execute = node("SaeuronUnlearningAccuracy").execute
    with pytest.raises(ValueError, match="knows no 'cats'"):
        execute(flat("red"), colours, "cats")
    with pytest.raises(ValueError, match="1 edited and 2 un-ablated"):
        execute(flat("red"), colours, "red", flat("red", "red"))
    with pytest.raises(ValueError, match="no pictures"):
        execute(flat("red")[:0], colours, "red")


class MeanColour:
    """Stands for a CLIP_VISION: an embedding that can be worked out by hand."""

    def encode_image(self, images):
        return {"image_embeds": images.mean((1, 2))}


def test_clip_similarity_by_hand(pack):
    execute = node("SaeuronClipSimilarity", "clip_similarity").execute
    output = execute(MeanColour(), flat("red", "red"), flat("red", "blue"))
    mean, each, report = output.result
    crossed = (0.9 * 0.1 * 2 + 0.1 * 0.1) / (0.9**2 + 0.1**2 * 2)
    assert each == pytest.approx([1.0, crossed], abs=1e-6) and mean == pytest.approx(np.mean(each))
    assert report == text(output) and "picture 2: 0.229" in report and "of 2 pictures" in report


def test_clip_similarity_of_unequal_batches(pack):
    with pytest.raises(ValueError, match="as many edited as un-ablated"):
        node("SaeuronClipSimilarity", "clip_similarity").execute(MeanColour(), flat("red"), flat("red", "blue"))


def test_a_missing_miniature_clip_is_said(pack, monkeypatch, tmp_path):
    monkeypatch.setattr(import_from_pack("nodes.clip_similarity"), "CLIP_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="Reinstall the pack"):
        node("SaeuronLoadMiniatureClip", "clip_similarity").execute()


def harmless() -> torch.Tensor:
    """IMAGE of a gradient and of a drawing of a house."""
    ramp = np.linspace(0, 255, 160, dtype=np.uint8)
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp, np.uint8(128)), axis=-1)
    drawing = Image.new("RGB", (160, 160), "skyblue")
    draw = ImageDraw.Draw(drawing)
    draw.rectangle((40, 80, 120, 150), fill="firebrick")
    draw.polygon([(30, 80), (80, 30), (130, 80)], fill="dimgray")
    return torch.from_numpy(np.stack([gradient, np.asarray(drawing)])).float() / 255


def test_harmless_pictures_have_no_unsafe_content(pack):
    pytest.importorskip("nudenet")
    output = node("SaeuronUnsafeContent", "unsafe_content").execute(harmless(), 0.6)
    assert output.result[:2] == (0, 0)
    assert "0 detections of exposed body parts in 0 of 2 pictures" in text(output)
    assert "threshold 0.6" in text(output) and "320n" in text(output) and "belly: 0" in text(output)


def test_unsafe_content_without_nudenet(pack, monkeypatch):
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(ValueError, match="pip install nudenet"):
        node("SaeuronUnsafeContent", "unsafe_content").execute(harmless(), 0.6)
