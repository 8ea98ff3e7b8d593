"""A small picture before and after, which a feature set carries to show what it does."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from reprlib import repr as brief  # what strangers wrote may be long
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SaeuronError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 64 << 10
MAX_SIDE = 1024
"""Pixels along the longer side."""

MAX_SCANS = 16
"""Passes over a picture that a JPEG may consist of: ten is usual, and each costs time whatever it holds."""

HEIGHT = 256
"""Pixels that the pictures are scaled down to."""

GAP = 4  # pixels
QUALITIES = (88, 80, 70, 55, 40, 25, 10)
"""Of JPEG, tried in this order until it is small enough."""

_SCAN = b"\xff\xda"  # begins one; within its data 0xff is always followed by 0


@dataclass(frozen=True)
class BeforeAfter:
    """Before on the left, after on the right, in one JPEG.

    Errors on construction: `SaeuronError` if `jpeg` is larger than `MAX_BYTES` or `MAX_SIDE`, or no JPEG that can be
    read to the end.
    """

    jpeg: bytes

    def __post_init__(self) -> None:
        if len(self.jpeg) > MAX_BYTES:
            raise SaeuronError(
                f"The picture has {len(self.jpeg)} bytes, more than {MAX_BYTES >> 10} KiB. Make it smaller."
            )
        self.pixels()

    def pixels(self) -> np.ndarray:
        """uint8 [H, W, 3]."""
        from PIL import Image

        if self.jpeg.count(_SCAN) > MAX_SCANS:
            raise SaeuronError(f"The picture is a JPEG of more than {MAX_SCANS} scans. Save it as a plain JPEG.")
        try:
            with Image.open(io.BytesIO(self.jpeg), formats=["JPEG"]) as image:
                # Its header alone has been read; nothing of the size that it promises is made before this.
                if max(image.size) <= MAX_SIDE:
                    return np.asarray(image.convert("RGB"))
                width, height = image.size
        except Exception as error:  # Pillow raises many kinds for damaged files
            raise SaeuronError("The picture is no JPEG that can be read. Save the feature set again.") from error
        raise SaeuronError(f"The picture is {width} x {height} pixels; {MAX_SIDE} is the most along a side.")

    def to_text(self) -> str:
        """Base64."""
        return base64.b64encode(self.jpeg).decode("ascii")

    @classmethod
    def from_text(cls, text: object) -> BeforeAfter:
        """What `to_text` gave. Errors: `SaeuronError` for other things, and as on construction."""
        if not isinstance(text, str):
            raise SaeuronError(f"'picture' must be text, found {brief(text)}.")
        if len(text) > MAX_BYTES * 4 // 3 + 4:
            raise SaeuronError(f"The picture is larger than {MAX_BYTES >> 10} KiB. Make it smaller.")
        try:
            jpeg = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise SaeuronError(f"'picture' is not base64: {error}.") from error
        return cls(jpeg)

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, height: int = HEIGHT) -> BeforeAfter:
        """uint8 [H, W, 3] twice, of any sizes; scaled down to `height` pixels, as well as fits into `MAX_BYTES`."""
        from PIL import Image

        left, right = (_scaled(Image.fromarray(picture), height) for picture in (before, after))
        both = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
        both.paste(left, (0, 0))
        both.paste(right, (left.width + GAP, 0))
        for quality in QUALITIES:
            content = io.BytesIO()
            both.save(content, "JPEG", quality=quality, optimize=True)
            if content.tell() <= MAX_BYTES:
                break
        return cls(content.getvalue())


def _scaled(picture: Image, height: int) -> Image:
    """`picture` no higher than `height`, nor so wide that two of them would be refused."""
    picture = picture.copy()
    picture.thumbnail(((MAX_SIDE - GAP) // 2, height))
    return picture
