"""How the pack sits in a host: its nodes, its folder's name, what it loads."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

from PIL import Image

from tools.host.server import PACK_NAME
from tools.host.unpack import REPOSITORY, host_path

NODES = {
    "SaeuronLoadSAE",
    "SaeuronCollectStatistics",
    "SaeuronSelectFeatures",
    "SaeuronLoadFeatureSet",
    "SaeuronSaveFeatureSet",
    "SaeuronUnlearn",
    "SaeuronReplace",
    "SaeuronForget",
    "SaeuronReplacementMask",
    "SaeuronLoadMiniature",
    "SaeuronLoadClassifier",
    "SaeuronUnlearningAccuracy",
    "SaeuronRetainAccuracy",
    "SaeuronLoadMiniatureClip",
    "SaeuronClipSimilarity",
    "SaeuronUnsafeContent",
    "SaeuronMultiplierSweep",
    "SaeuronSteerFeatures",
    "SaeuronFindFeatures",
    "SaeuronFeaturesByIndex",
    "SaeuronFeatureHeatmap",
    "SaeuronFeatureExamples",
    "SaeuronFeatureReport",
    "SaeuronCompare",
}


def test_every_node_is_there_with_a_help_page_and_tooltips(server):
    info = {name: node for name, node in server.object_info().items() if name.startswith("Saeuron")}
    assert set(info) == NODES
    for name, node in info.items():
        assert node["category"].startswith("SAeUron")
        assert (REPOSITORY / "web" / "docs" / f"{name}.md").is_file()
        assert node["description"]
        for part in ("required", "optional"):
            for input_, spec in node["input"].get(part, {}).items():
                assert len(spec) > 1 and spec[1].get("tooltip"), f"{name}.{input_} has no tooltip"
        said = node["output_tooltips"] or []
        assert len(said) == len(node["output"]) and all(said), f"{name} has an output without a tooltip"


def test_the_host_serves_the_help_pages_and_their_pictures(server):
    folder = f"/extensions/{PACK_NAME}/docs"
    for name in NODES:
        page = server.request(f"{folder}/{name}.md").decode()
        pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
        assert f"pictures/{name}.png" in pictures
        for picture in pictures:
            with Image.open(io.BytesIO(server.request(f"{folder}/{picture}"))) as image:
                assert min(image.size) >= 50, picture


def test_the_registry_scanner_finds_every_node_id_in_the_source():
    found = set()
    for path in (REPOSITORY / "nodes").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        classes = set(re.findall(r"^class (Saeuron\w+)\(io\.ComfyNode\):", source, re.MULTILINE))
        ids = set(re.findall(r'node_id="(\w+)"', source))
        assert classes == ids, path.name
        found |= ids
    assert found == NODES


def test_loading_the_pack_imports_no_heavy_library():
    """The host itself imports transformers' tokenizers, so what counts is what the pack adds."""
    code = f"""
import sys, json
sys.path[:0] = [{str(host_path())!r}, {str(REPOSITORY)!r}]
sys.argv = ["main.py", "--cpu"]
import comfy.options; comfy.options.enable_args_parsing()
import nodes, comfy.samplers, comfy.sd, comfy_api.latest
before = set(sys.modules)
from tools.pack import pack
pack()
print(json.dumps(sorted({{name.split('.')[0] for name in set(sys.modules) - before}})))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = set(json.loads(run.stdout.splitlines()[-1]))
    heavy = {"transformers", "nnsight", "matplotlib", "diffusers", "sklearn", "scipy", "PIL", "timm", "nudenet"}
    assert not added & heavy
    assert "saeuron_pack" in added
