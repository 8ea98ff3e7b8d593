"""The picture in a feature set: small, read by Pillow alone, and refused where it is not what it should be."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saeuron.errors import SaeuronError
from saeuron.features.before_after import GAP, HEIGHT, MAX_BYTES, MAX_SCANS, MAX_SIDE, BeforeAfter
from saeuron.features.feature_set import Feature, FeatureSet, FeatureStep
from support.codes import SAE

CATS = FeatureSet("cats", SAE, {}, {}, (FeatureStep(None, (Feature(1),)),))


def plain(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def encoded(size: tuple[int, int], form: str = "JPEG", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, "teal").save(content, form, **options)
    return content.getvalue()


PICTURE = BeforeAfter.of(plain(192, 192, 0), plain(192, 192, 200))


def test_before_is_left_and_after_right_on_a_white_gap() -> None:
    pixels = PICTURE.pixels()
    assert pixels.shape == (192, 2 * 192 + GAP, 3) and pixels.dtype == np.uint8
    assert pixels[:, :184].max() < 10 and abs(int(pixels[:, -184:].min()) - 200) < 10
    assert pixels[:, 192 : 192 + GAP].min() > 150


@pytest.mark.parametrize("size", [(1024, 1024), (1024, 64), (64, 4096), (1, 1)])
def test_pictures_of_any_size_are_scaled_down_and_never_up(size: tuple[int, int]) -> None:
    pixels = BeforeAfter.of(plain(*size, 40), plain(300, 300, 40)).pixels()
    assert pixels.shape[0] == HEIGHT and pixels.shape[1] <= MAX_SIDE
    assert BeforeAfter.of(plain(1, 1, 0), plain(1, 1, 0)).pixels().shape == (1, 2 + GAP, 3)
    assert BeforeAfter.of(plain(*size, 40), plain(*size, 40), height=32).pixels().shape[0] <= 32


def test_the_worst_picture_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 2048, 4096, 3), dtype=np.uint8)
    assert len(BeforeAfter.of(noise[0], noise[1]).jpeg) <= MAX_BYTES
    sharp = noise[:, :HEIGHT, : (MAX_SIDE - GAP) // 2]
    assert len(BeforeAfter.of(sharp[0], sharp[1]).jpeg) <= MAX_BYTES


def test_a_file_gives_the_picture_back(tmp_path: Path) -> None:
    cats = replace(CATS, picture=PICTURE, extra={"author": "x"})
    cats.save(tmp_path / "cats.json")
    found = FeatureSet.load(tmp_path / "cats.json")
    assert found == cats and found.picture is not None and found.picture.jpeg == PICTURE.jpeg
    document = json.loads(cats.to_json())
    assert document["version"] == "1.2" and base64.b64decode(document["picture"]) == PICTURE.jpeg


def test_a_file_without_a_picture_is_the_one_that_older_packs_wrote() -> None:
    document = json.loads(CATS.to_json())
    assert document["version"] == "1.1" and "picture" not in document
    assert FeatureSet.from_json(json.dumps({**document, "version": "1.2"})).picture is None


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def promising(width: int, height: int) -> bytes:
    """A small JPEG whose header says that it is of another size."""
    data = bytearray(encoded((8, 8)))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def many_scans() -> bytes:
    """A progressive JPEG with its last scan repeated as often as there is room."""
    data = encoded((MAX_SIDE, MAX_SIDE), progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * ((MAX_BYTES - len(data)) // len(last)) + data[-2:]


HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "no text": (lambda: 3, "'picture' must be text, found 3"),
    "nothing": (lambda: None, "'picture' must be text, found None"),
    "list": (lambda: ["x"] * 100, "'picture' must be text"),
    "empty": (lambda: "", "no JPEG that can be read"),
    "not base64": (lambda: "*" * 40, "not base64"),
    "not ASCII": (lambda: "猫", "not base64"),
    "a line break": (lambda: text_of(PICTURE.jpeg)[:76] + "\n" + text_of(PICTURE.jpeg)[76:], "not base64"),
    "cut base64": (lambda: text_of(PICTURE.jpeg)[:-3], "not base64"),
    "an address": (lambda: "data:image/jpeg;base64," + text_of(PICTURE.jpeg), "not base64"),
    "PNG": (lambda: text_of(encoded((8, 8), "PNG")), "no JPEG that can be read"),
    "GIF": (lambda: text_of(encoded((8, 8), "GIF")), "no JPEG that can be read"),
    "text": (lambda: text_of(b"a picture of a cat"), "no JPEG that can be read"),
    "cut short": (lambda: text_of(PICTURE.jpeg[: len(PICTURE.jpeg) // 2]), "no JPEG that can be read"),
    "too wide": (lambda: text_of(encoded((MAX_SIDE + 1, 8))), f"1025 x 8 pixels; {MAX_SIDE} is the most"),
    "a bomb": (lambda: text_of(promising(65500, 65500)), "picture"),
    "a smaller bomb": (lambda: text_of(promising(9000, 9000)), "9000 x 9000 pixels"),
    "many scans": (lambda: text_of(many_scans()), f"more than {MAX_SCANS} scans"),
    "too many bytes": (lambda: text_of(PICTURE.jpeg + bytes(MAX_BYTES)), "64 KiB"),
    "a few bytes too many": (lambda: text_of(PICTURE.jpeg.ljust(MAX_BYTES + 1, b"\0")), "64 KiB"),
    "huge": (lambda: "A" * 10_000_000, "64 KiB"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_are_refused_and_named(name: str) -> None:
    make, message = HOSTILE[name]
    document = json.dumps({**json.loads(CATS.to_json()), "picture": make()})
    start = time.process_time()
    with pytest.raises(SaeuronError) as caught:
        FeatureSet.from_json(document, "cats.json")
    assert message in str(caught.value) and "cats.json" in str(caught.value)
    assert len(str(caught.value)) < 500
    assert time.process_time() - start < 3


def test_usual_kinds_of_jpeg_are_read() -> None:
    for options in ({"progressive": True}, {"quality": 100}, {"subsampling": 0}, {"comment": "x" * 200}):
        assert BeforeAfter(encoded((64, 32), **options)).pixels().shape == (32, 64, 3)
    for mode in ("L", "CMYK"):
        content = io.BytesIO()
        Image.new(mode, (64, 32)).save(content, "JPEG")
        assert BeforeAfter(content.getvalue()).pixels().shape == (32, 64, 3)


def test_a_picture_of_exactly_the_largest_size_is_read() -> None:
    jpeg = PICTURE.jpeg.ljust(MAX_BYTES, b"\0")
    assert FeatureSet.from_json(replace(CATS, picture=BeforeAfter(jpeg)).to_json()).picture == BeforeAfter(jpeg)
