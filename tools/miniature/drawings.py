"""The drawings the miniature learns: 20 UnlearnCanvas objects in 5 drawing styles.

The drawings are emoji from four npm packages in one format (``icons.json`` with SVG bodies).
They are fetched when needed and never committed; `STYLES` records package, version and licence.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DRAWING_SIZE = 256


@dataclass(frozen=True)
class Style:
    package: str
    version: str
    licence: str
    author: str
    grayscale: bool = False
    ink: str = "#202028"  # colour of what the drawings leave to the reader: all of a line drawing


STYLES: dict[str, Style] = {
    "twemoji": Style("@iconify-json/twemoji", "1.2.5", "CC-BY-4.0", "Twitter"),
    "fluent": Style("@iconify-json/fluent-emoji", "1.2.7", "MIT", "Microsoft Corporation"),
    "gray": Style("@iconify-json/noto", "1.2.9", "Apache-2.0", "Google Inc", grayscale=True),
    "contrast": Style("@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT", "Microsoft Corporation"),
    "crayon": Style("@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT", "Microsoft Corporation", ink="#d81e34"),
}

# One clear drawing per object: icon name and the words captions use for it.
OBJECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "architectures": ("castle", ("castle", "building")),
    "bears": ("bear", ("bear",)),
    "birds": ("bird", ("bird",)),
    "butterfly": ("butterfly", ("butterfly",)),
    "cats": ("cat-face", ("cat", "cat face", "kitten")),
    "dogs": ("dog-face", ("dog", "dog face", "puppy")),
    "fishes": ("tropical-fish", ("fish", "tropical fish")),
    "flame": ("fire", ("flame", "fire")),
    "flowers": ("tulip", ("flower", "tulip")),
    "frogs": ("frog", ("frog", "toad")),
    "horses": ("horse-face", ("horse", "horse face", "pony")),
    "human": ("man", ("man", "person", "human")),
    "jellyfish": ("jellyfish", ("jellyfish",)),
    "rabbits": ("rabbit-face", ("rabbit", "bunny", "rabbit face")),
    "sandwiches": ("sandwich", ("sandwich",)),
    "sea": ("water-wave", ("sea", "wave", "ocean")),
    "statues": ("moai", ("statue", "stone statue", "moai")),
    "towers": ("tokyo-tower", ("tower",)),
    "trees": ("deciduous-tree", ("tree",)),
    "waterfalls": ("fountain", ("waterfall", "fountain")),
}


def fetch_packages(folder: Path) -> None:
    """Download and unpack the icon packages with ``npm pack``; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for style in STYLES.values():
        target = folder / f"{style.package.rsplit('/', 1)[1]}-{style.version}.json"
        if target.exists():
            continue
        packed = (
            subprocess.run(
                ["npm", "pack", "--silent", f"{style.package}@{style.version}"],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            .stdout.strip()
            .splitlines()[-1]
        )
        archive = folder / packed
        with tarfile.open(archive) as tar:
            member = tar.extractfile("package/icons.json")
            if member is None:
                raise RuntimeError(f"{packed} holds no icons.json")
            target.write_bytes(member.read())
        archive.unlink()


def _svg(icons: dict, name: str, ink: str) -> str:
    while name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{DRAWING_SIZE}" height="{DRAWING_SIZE}" color="{ink}">{icon["body"]}</svg>'
    )


def render_drawings(folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """(object, style) -> uint8 RGBA of [DRAWING_SIZE, DRAWING_SIZE, 4]."""
    import io

    import resvg_py
    from PIL import Image, ImageOps

    fetch_packages(folder)
    drawings = {}
    for style_name, style in STYLES.items():
        icons = json.loads((folder / f"{style.package.rsplit('/', 1)[1]}-{style.version}.json").read_text())
        for object_name, (icon, _) in OBJECTS.items():
            png = bytes(resvg_py.svg_to_bytes(svg_string=_svg(icons, icon, style.ink)))
            drawing = Image.open(io.BytesIO(png)).convert("RGBA")
            if style.grayscale:
                alpha = drawing.getchannel("A")
                gray = ImageOps.autocontrast(drawing.convert("L"), mask=alpha.point(lambda a: 255 * (a > 128)))
                drawing = Image.merge("RGBA", (gray, gray, gray, alpha))
            drawings[object_name, style_name] = np.asarray(drawing)
    return drawings
