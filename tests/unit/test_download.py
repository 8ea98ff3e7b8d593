"""`download` against a hub on this machine: listing, what is there already, broken connections, checksums."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR
from threading import Event, Thread

import pytest
import tomllib

from saeuron.__main__ import main
from saeuron.cli.download import saes_in
from saeuron.sae.files import load_sae
from saeuron.sae.repositories import address_of_sae, where_to_get
from tools.host.unpack import REPOSITORY
from tools.sae_files import write_unbox

SAE = "unet.up_blocks.0.attentions.1_k3/final"
COMMIT = "c" * 40
CONFIG, WEIGHTS = f"{SAE}/config.json", f"{SAE}/state_dict.pth"


class Hub:
    """The few addresses of a hub that a download asks for; `files` are what it serves, large ones from elsewhere."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.requests, self.ranges = files, [], []
        self.breaks_after: int | None = None
        """A connection is cut after so many bytes of a file,"""
        self.waits = Event()
        """once this is set."""
        self.waits.set()
        self.listed = [_listed(name, data) for name, data in files.items()]

    def answer(self, method: str, path: str, wanted: str | None) -> tuple[int, dict[str, str], bytes]:
        self.requests.append((method, path))
        if path.startswith("/api/models/some/saes"):
            return 200, {}, json.dumps({"id": "some/saes", "sha": COMMIT, "siblings": self.listed}).encode()
        name = path.removeprefix(f"/some/saes/resolve/{COMMIT}/")
        if name == WEIGHTS:
            return 302, {"Location": f"/elsewhere/{name}"}, b""
        name = name.removeprefix("/elsewhere/")
        if name not in self.files:
            return 404, {}, b""
        headers, data = {"Accept-Ranges": "bytes"}, self.files[name]
        if wanted:
            self.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            return 206, {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]
        return 200, headers, data


def _listed(name: str, data: bytes) -> dict[str, object]:
    """As the hub lists a file: small ones with git's checksum of them, large ones with that of a pointer to them."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    if name != WEIGHTS:
        return {"rfilename": name, "size": len(data), "blobId": blob}
    lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}
    return {"rfilename": name, "size": len(data), "blobId": "0" * 40, "lfs": lfs}


@pytest.fixture
def published(tmp_path) -> dict[str, bytes]:
    folder = tmp_path / "published" / SAE
    write_unbox(folder, d=6, n=12, k=3)
    return {f"{SAE}/{file.name}": file.read_bytes() for file in folder.iterdir()} | {"README.md": b"hello"}


@pytest.fixture
def hub(published, monkeypatch) -> Iterator[Hub]:
    hub = Hub(published)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, data = hub.answer(self.command, self.path.partition("?")[0], self.headers.get("Range"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                whole = hub.breaks_after is None or "/elsewhere/" not in self.path or len(data) <= hub.breaks_after
                self.wfile.write(data if whole else data[: hub.breaks_after])
                if not whole:
                    self.wfile.flush()
                    hub.waits.wait(60)
                    self.connection.shutdown(SHUT_RDWR)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub.address = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    server.server_close()


def download(hub: Hub, into, name: str = SAE) -> int:
    return main(["download", "some/saes", name, "--into", str(into), "--endpoint", hub.address, "--json"])


def test_it_lists_what_there_is(hub, tmp_path, capsys):
    assert download(hub, tmp_path, "") == 0
    assert json.loads(capsys.readouterr().out) == {"saes": [SAE]}


def test_it_brings_what_the_loader_reads_and_nothing_else(hub, tmp_path):
    assert download(hub, tmp_path / "saes") == 0
    assert load_sae(tmp_path / "saes" / SAE).identity.hookpoint == "up_blocks.0.attentions.1"
    assert sorted(file.name for file in (tmp_path / "saes" / SAE).iterdir()) == ["config.json", "state_dict.pth"]


def test_what_is_there_is_not_downloaded_again(hub, tmp_path):
    download(hub, tmp_path / "saes")
    hub.requests.clear()
    assert download(hub, tmp_path / "saes") == 0
    assert not [path for method, path in hub.requests if method == "GET" and path.endswith(".pth")]


def test_a_cut_connection_is_taken_up_where_it_was_cut(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's client waits between its own attempts
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)  # what it keeps of a cut connection
    hub.breaks_after = 400
    assert download(hub, tmp_path / "saes") == 0, capsys.readouterr().err
    starts = [int(wanted.removeprefix("bytes=").split("-")[0]) for wanted in hub.ranges]
    assert starts == list(range(400, len(hub.files[WEIGHTS]), 400))
    assert load_sae(tmp_path / "saes" / SAE).identity.n == 12


def test_a_killed_download_goes_on_where_it_stopped(hub, tmp_path):
    """The process is killed while the hub holds the connection open half way."""
    hub.breaks_after = 1000
    hub.waits.clear()
    script = (
        "import sys, huggingface_hub.constants as c; c.DOWNLOAD_CHUNK_SIZE = 100; from saeuron.__main__ import main"
    )
    words = ["download", "some/saes", SAE, "--into", str(tmp_path / "saes"), "--endpoint", hub.address]
    process = subprocess.Popen([sys.executable, "-c", f"{script}; main(sys.argv[1:])", *words], cwd=REPOSITORY)
    folder = tmp_path / "saes" / SAE
    while not any(part.stat().st_size == 1000 for part in folder.glob(".*.part")):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    hub.waits.set()
    assert not (folder / "state_dict.pth").exists()

    hub.breaks_after = None
    assert download(hub, tmp_path / "saes") == 0
    assert hub.ranges == ["bytes=1000-"]
    assert (folder / "state_dict.pth").read_bytes() == hub.files[WEIGHTS]
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "state_dict.pth"]


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_damaged_file_is_refused_and_the_next_download_begins_anew(hub, tmp_path, capsys, name):
    right = hub.files[name]
    hub.files[name] = right[:-1] + b"?"
    assert download(hub, tmp_path / "saes") == 1
    assert "damaged" in capsys.readouterr().err
    assert not (tmp_path / "saes" / name).exists()
    hub.files[name] = right
    assert download(hub, tmp_path / "saes") == 0
    assert (tmp_path / "saes" / name).read_bytes() == right and not hub.ranges


def test_a_damaged_file_that_is_there_is_replaced(hub, tmp_path):
    download(hub, tmp_path / "saes")
    path = tmp_path / "saes" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert download(hub, tmp_path / "saes") == 0
    assert path.read_bytes() == hub.files[WEIGHTS]


def test_a_file_without_a_checksum_is_refused(hub, tmp_path, capsys):
    for listed in hub.listed:
        listed.pop("blobId")
    assert download(hub, tmp_path / "saes") == 1
    assert "states no size and checksum of" in capsys.readouterr().err


def test_it_goes_into_the_comfyui_that_the_pack_is_installed_in(monkeypatch):
    from saeuron import comfyui

    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(comfyui, "PACK", Path("/apps/ComfyUI/custom_nodes/ComfyUI-SAeUron"))
    assert comfyui.comfyui_folder() == Path("/apps/ComfyUI")
    monkeypatch.setattr(comfyui, "PACK", Path("/home/me/ComfyUI-SAeUron"))
    assert comfyui.comfyui_folder() is None
    monkeypatch.setenv("COMFYUI_PATH", "/srv/comfy")
    assert comfyui.comfyui_folder() == Path("/srv/comfy")


def test_without_a_folder_named_it_goes_into_models_saes(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert main(["download", "some/saes", SAE, "--endpoint", hub.address]) == 0
    assert (tmp_path / "models" / "saes" / WEIGHTS).is_file()


def test_an_unknown_name_is_answered_with_the_known_ones(hub, tmp_path, capsys):
    assert download(hub, tmp_path, "other") == 1
    assert SAE in capsys.readouterr().err


def test_an_unreachable_hub_says_what_to_do(tmp_path, capsys):
    words = ["download", "some/saes", SAE, "--into", str(tmp_path), "--endpoint", "http://127.0.0.1:9"]
    assert main(words) == 1
    assert "copy the SAE's folder" in capsys.readouterr().err


def test_only_whole_layouts_are_saes():
    assert saes_in(["a/config.json", "b/config.json", "b/state_dict.pth", "c/cfg.json", "c/sae.safetensors"]) == {
        "b": ["b/config.json", "b/state_dict.pth"],
        "c": ["c/cfg.json", "c/sae.safetensors"],
    }


def test_files_at_the_top_of_a_repository_get_a_folder_of_their_own(hub, tmp_path):
    top = {name.rpartition("/")[2]: data for name, data in hub.files.items()}
    hub.files, hub.listed = top, [_listed(name, data) for name, data in top.items()]
    assert download(hub, tmp_path, ".") == 0
    assert sorted(path.name for path in (tmp_path / "saes").iterdir()) == ["config.json", "state_dict.pth"]


def test_saes_that_are_not_read_are_named(hub, tmp_path, capsys):
    hub.listed.append(_listed("layer/sae_best.pt", b"x"))
    assert download(hub, tmp_path, "layer") == 1
    assert "an SAE trainer for FLUX, whose models have no UNet" in capsys.readouterr().err


def test_all_saes_of_a_repository_are_brought(hub, tmp_path):
    second = {name.replace("_k3", "_k4"): data for name, data in hub.files.items() if name.startswith(SAE)}
    hub.files |= second
    hub.listed += [_listed(name, data) for name, data in second.items()]
    assert download(hub, tmp_path / "saes", "all") == 0
    for folder in (SAE, SAE.replace("_k3", "_k4")):
        assert load_sae(tmp_path / "saes" / folder).identity.n == 12


def test_without_a_repository_the_known_ones_are_listed(capsys):
    assert main(["download", "--json"]) == 0
    assert "surokpro2/sdxl-saes" in json.loads(capsys.readouterr().out)["repositories"]


def test_the_package_that_it_needs_is_named_and_is_an_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # any import of it fails
    assert main(["download", "some/saes", SAE, "--into", str(tmp_path)]) == 1
    assert "pip install huggingface_hub" in capsys.readouterr().err
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (asked,) = project["optional-dependencies"]["download"]
    assert asked.startswith("huggingface_hub>=")


def test_a_name_that_leaves_the_folder_is_refused(hub, tmp_path, capsys):
    """The hub lists what it likes."""
    for name, data in list(hub.files.items()):
        hub.files[f"../{name}"] = data
        hub.listed.append(_listed(f"../{name}", data))
    assert download(hub, tmp_path / "saes", f"../{SAE}") == 1
    assert "can't be used as a file name" in capsys.readouterr().err
    assert not (tmp_path / SAE).exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unet.up_blocks.0.attentions.1_k10_hidden5120_auxk256_bs4096_lr0.0001/final", "surokpro2/sdxl-saes"),
        ("unet.up_blocks.0.attentions.1_k160_hidden5120_auxk256_bs4096_lr0.0001/final", "wendlerc/sdxl-turbo-saes"),
        (
            "unet.up_blocks.0.attentions.1_k10_hidden5120_auxk256_bs4096_lr0.0001\\final\\state_dict.pth",
            "surokpro2/sdxl-saes",
        ),
    ],
)
def test_a_missing_sae_that_somebody_publishes_is_named_with_its_files_and_folder(name, expected):
    told = where_to_get(name, "models/saes")
    folder = name.replace("\\", "/").removesuffix("/state_dict.pth")
    assert f"repository {expected} on" in told and f"download {expected} {folder}`" in told
    assert all(f"{folder}/{file}" in told for file in ("config.json", "state_dict.pth")) and "models/saes" in told


def test_of_other_saes_nothing_is_claimed():
    assert where_to_get("my-own.safetensors", "models/saes") == "" == where_to_get("", "models/saes")


def test_the_weights_of_a_published_sae_have_an_address():
    weights = "unet.up_blocks.0.attentions.1_k10_hidden5120_auxk256_bs4096_lr0.0001/final/state_dict.pth"
    assert address_of_sae(weights).endswith(f"/surokpro2/sdxl-saes/resolve/main/{weights}")
    for name in ("my-own.safetensors", "", weights.replace("state_dict.pth", "config.json")):
        with pytest.raises(ValueError, match="Nobody is known"):
            address_of_sae(name)
