"""Image classifiers as judges of what a picture shows: transformers folders and UnlearnCanvas checkpoints."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from saeuron.errors import SaeuronError
from saeuron.evaluation import unlearncanvas
from saeuron.evaluation.classifier import BATCH, Classifier
from saeuron.evaluation.halves import NOTHING
from tools.host.unpack import REPOSITORY

SHIPPED = REPOSITORY / "saeuron" / "miniature" / "classifiers"
TINY = "vit_tiny_patch16_224.augreg_in21k"


def pictures(count: int, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder with a small ViT of random weights and labels that are nobody's."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    labels = {0: "A cat", 1: "Tower", 2: "neither"}
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = ViTConfig(
        **shape, image_size=32, patch_size=8, id2label=labels, label2id={v: k for k, v in labels.items()}
    )
    model = ViTForImageClassification(config)
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_folder_is_judged_as_transformers_does_it(vit):
    from transformers import pipeline

    images = pictures(4)
    classifier = Classifier(vit)
    assert classifier.labels == ("A cat", "Tower", "neither")
    reference = pipeline("image-classification", model=str(vit), top_k=3, device="cpu")
    expected = [
        {entry["label"]: entry["score"] for entry in entries}
        for entries in reference(list(map(Image.fromarray, images)))
    ]
    found = classifier.probabilities(images)
    assert found.dtype == np.float32 and found.shape == (4, 3)
    for row, scores in zip(found, expected, strict=True):
        assert dict(zip(classifier.labels, row, strict=True)) == pytest.approx(scores, abs=1e-5)
    assert classifier.classify(images) == [max(scores, key=scores.get) for scores in expected]


def test_features_are_what_the_head_reads(vit):
    classifier, images = Classifier(vit), pictures(3)
    features = classifier.features(images)
    assert features.dtype == np.float32 and features.shape == (3, 32)
    logits = classifier.module.network.classifier(torch.from_numpy(features))
    assert logits.softmax(1).numpy() == pytest.approx(classifier.probabilities(images), abs=1e-6)


def test_batches_do_not_matter(vit):
    classifier, images = Classifier(vit), pictures(BATCH + 3)
    one_by_one = np.concatenate([classifier.features(images[i : i + 1]) for i in range(len(images))])
    assert classifier.features(images) == pytest.approx(one_by_one, abs=1e-5)
    assert len(classifier.classify(images)) == BATCH + 3


def test_no_pictures_have_no_labels(vit):
    classifier = Classifier(vit)
    assert classifier.classify(pictures(0)) == []
    assert classifier.probabilities(pictures(0)).shape == (0, 3)
    assert classifier.features(pictures(0)).shape == (0, 32)


@pytest.mark.parametrize("wrong", [pictures(1)[0], pictures(1) / 255.0, pictures(1)[..., :1]])
def test_what_is_no_picture(vit, wrong):
    with pytest.raises(SaeuronError, match=r"uint8 \[B, H, W, 3\]"):
        Classifier(vit).classify(wrong)


def test_labels_are_found_whatever_their_case(vit):
    classifier = Classifier(vit)
    assert classifier.label(" a CAT ") == "A cat"
    with pytest.raises(SaeuronError, match=r"knows no 'dog'. It knows: A cat, Tower, neither"):
        classifier.label("dog")


def test_shipped_judges_know_their_labels():
    objects, styles = Classifier(SHIPPED / "objects"), Classifier(SHIPPED / "styles")
    assert len(objects.labels) == 20 and {"cats", "towers"} <= set(objects.labels)
    assert set(styles.labels) == {"twemoji", "fluent", "gray", "contrast", "crayon"}
    assert set(Classifier(SHIPPED / "halves").labels) == {*objects.labels, NOTHING}
    picture = np.full((2, 192, 192, 3), 200, dtype=np.uint8)
    assert objects.classify(picture) == objects.classify(picture[:1]) * 2


def test_a_folder_that_is_no_classifier(tmp_path):
    with pytest.raises(SaeuronError, match="no image classifier"):
        Classifier(tmp_path)


def test_pickled_weights_in_a_folder_are_refused(vit, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((vit / name).read_bytes())
    torch.save(Classifier(vit).module.network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(SaeuronError, match=r"model\.safetensors"):
        Classifier(tmp_path)


def test_code_in_a_folder_is_not_run(vit, tmp_path):
    for file in vit.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForImageClassification": "own.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SaeuronError, match="no image classifier"):
        Classifier(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Writes a checkpoint in UnlearnCanvas's layout, with timm's smallest ViT in place of its largest."""
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(unlearncanvas, "ARCHITECTURE", TINY)

    def write(classes: int):
        torch.manual_seed(0)
        network = timm.create_model(TINY, pretrained=False, num_classes=classes).eval()
        torch.nn.init.normal_(network.head.weight)
        path = tmp_path / f"classes{classes}.pth"
        torch.save({"model_state_dict": network.state_dict(), "epoch": 3, "loss": torch.tensor(0.5)}, path)
        return path, network

    return write


@pytest.mark.parametrize(("classes", "labels"), [(20, unlearncanvas.OBJECTS), (51, unlearncanvas.STYLES)])
def test_an_unlearncanvas_checkpoint_is_judged_as_there(checkpoint, classes, labels):
    path, network = checkpoint(classes)
    images, classifier = pictures(3, 300, 260), Classifier(path)
    assert classifier.labels == labels and len(labels) == classes
    transform = v2.Compose([v2.Resize((224, 224)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
                            v2.Normalize([0.5] * 3, [0.5] * 3)])  # fmt: skip
    pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
    # PIL rounds after each direction of its resize, so pixels differ by up to one level in 255.
    assert unlearncanvas.prepare(images).numpy() == pytest.approx(pixels.numpy(), abs=2.1 / 255)
    with torch.inference_mode():
        expected = network(unlearncanvas.prepare(images)).softmax(1).numpy()
    assert classifier.probabilities(images) == pytest.approx(expected, abs=1e-5)
    assert classifier.features(images).shape == (3, 192)


def test_the_real_architecture_has_the_weights_that_are_asked_for():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state = timm.create_model(unlearncanvas.ARCHITECTURE, pretrained=False, num_classes=20).state_dict()
    assert state["head.weight"].shape == (20, 1024)
    assert sum("attn.qkv.weight" in name for name in state) == 24


def test_a_head_of_another_size(checkpoint):
    with pytest.raises(SaeuronError, match="tells 7 classes apart"):
        Classifier(checkpoint(7)[0])


def test_weights_of_another_network(checkpoint, monkeypatch):
    path, _ = checkpoint(20)
    monkeypatch.setattr(unlearncanvas, "ARCHITECTURE", "vit_small_patch16_224.augreg_in21k")
    with pytest.raises(SaeuronError, match="does not fit timm's vit_small"):
        Classifier(path)


@pytest.mark.parametrize("content", [{}, {"model_state_dict": 3}, {"model_state_dict": {"head.bias": torch.ones(2)}}])
def test_a_file_of_another_kind(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(SaeuronError, match="no UnlearnCanvas classifier"):
        Classifier(tmp_path / "x.pth")


def test_a_checkpoint_is_read_whole(checkpoint):
    path, _ = checkpoint(20)
    images, classifier = pictures(1), Classifier(path)
    before = classifier.probabilities(images)
    with path.open("r+b") as file:  # the same file, so that a tensor mapped to it would change
        file.write(b"\xff" * path.stat().st_size)
    assert np.array_equal(classifier.probabilities(images), before)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "x.pth").write_bytes(pickle.dumps({"model_state_dict": Trap()}))
    torch.save({"model_state_dict": Trap()}, tmp_path / "y.pth")
    for name in ("x.pth", "y.pth"):
        with pytest.raises(SaeuronError, match="never run"):
            Classifier(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_without_timm_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SaeuronError, match="pip install timm"):
        Classifier(tmp_path / "x.pth")
