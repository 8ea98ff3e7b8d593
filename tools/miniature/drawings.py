"""The drawings the miniature learns: 20 UnlearnCanvas objects in 5 drawing styles.

The drawings are emoji from five npm packages in one format (``icons.json`` with SVG bodies).
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


STYLES: dict[str, Style] = {
    "noto": Style("@iconify-json/noto", "1.2.9", "Apache-2.0", "Google Inc"),
    "twemoji": Style("@iconify-json/twemoji", "1.2.5", "CC-BY-4.0", "Twitter"),
    "fluent": Style("@iconify-json/fluent-emoji", "1.2.7", "MIT", "Microsoft Corporation"),
    "flat": Style("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "Microsoft Corporation"),
    "contrast": Style("@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT", "Microsoft Corporation"),
}

# One or two clear drawings per object: icon name -> the words captions use for it.
OBJECTS: dict[str, dict[str, tuple[str, ...]]] = {
    "architectures": {"classical-building": ("building", "temple"), "castle": ("castle", "building")},
    "bears": {"bear": ("bear",)},
    "birds": {"bird": ("bird",), "duck": ("duck", "bird")},
    "butterfly": {"butterfly": ("butterfly",)},
    "cats": {"cat-face": ("cat", "cat face", "kitten"), "cat": ("cat", "kitten")},
    "dogs": {"dog-face": ("dog", "dog face", "puppy"), "dog": ("dog", "puppy")},
    "fishes": {"fish": ("fish",), "tropical-fish": ("tropical fish", "fish")},
    "flame": {"fire": ("flame", "fire")},
    "flowers": {"sunflower": ("sunflower", "flower"), "tulip": ("tulip", "flower")},
    "frogs": {"frog": ("frog", "toad")},
    "horses": {"horse-face": ("horse", "horse face", "pony"), "horse": ("horse", "pony")},
    "human": {"man": ("man", "person", "human"), "woman": ("woman", "person", "human")},
    "jellyfish": {"jellyfish": ("jellyfish",)},
    "rabbits": {"rabbit-face": ("rabbit", "bunny", "rabbit face"), "rabbit": ("rabbit", "bunny")},
    "sandwiches": {"sandwich": ("sandwich",)},
    "sea": {"water-wave": ("sea", "wave", "ocean")},
    "statues": {"statue-of-liberty": ("statue", "statue of liberty"), "moai": ("statue", "moai", "stone statue")},
    "towers": {"tokyo-tower": ("tower",)},
    "trees": {"deciduous-tree": ("tree",), "evergreen-tree": ("tree", "pine tree")},
    "waterfalls": {"fountain": ("waterfall", "fountain")},
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


def _svg(icons: dict, name: str) -> str:
    while name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{DRAWING_SIZE}" height="{DRAWING_SIZE}" color="#202028">{icon["body"]}</svg>'
    )


def render_drawings(folder: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """(object, style, icon) -> uint8 RGBA of [DRAWING_SIZE, DRAWING_SIZE, 4]."""
    import io

    import resvg_py
    from PIL import Image

    fetch_packages(folder)
    drawings = {}
    for style_name, style in STYLES.items():
        icons = json.loads((folder / f"{style.package.rsplit('/', 1)[1]}-{style.version}.json").read_text())
        for object_name, names in OBJECTS.items():
            for name in names:
                png = bytes(resvg_py.svg_to_bytes(svg_string=_svg(icons, name)))
                drawings[object_name, style_name, name] = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    return drawings
