"""`download` against a hub on this machine: listing, what is there already, checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from threading import Thread

import pytest

from saeuron.__main__ import main
from saeuron.checkpoints import load_sae
from saeuron.commands.download import saes_in
from support.sae_files import write_unbox

SAE = "unet.up_blocks.0.attentions.1_k3/final"
COMMIT = "c" * 40


class Hub:
    """The few addresses of a hub that a download asks for; `files` are what it serves."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.requests, self.ranges = files, [], []
        self.breaks_after: int | None = None
        """A connection is cut after so many bytes of a file."""
        self.checksums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}

    def answer(self, method: str, path: str, wanted: str | None) -> tuple[int, dict[str, str], bytes]:
        self.requests.append((method, path))
        if path.startswith("/api/models/some/saes"):
            siblings = [
                {"rfilename": n, "size": len(d), "lfs": {"sha256": self.checksums[n], "size": len(d), "pointerSize": 1}}
                for n, d in self.files.items()
            ]
            return 200, {}, json.dumps({"id": "some/saes", "sha": COMMIT, "siblings": siblings}).encode()
        name = path.removeprefix(f"/some/saes/resolve/{COMMIT}/")
        if name not in self.files:
            return 404, {}, b""
        headers = {"ETag": f'"{self.checksums[name]}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        data = self.files[name]
        if wanted:
            self.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            return 206, {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]
        return 200, headers, data


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
                whole = hub.breaks_after is None or "/resolve/" not in self.path or len(data) <= hub.breaks_after
                self.wfile.write(data if whole else data[: hub.breaks_after])
                if not whole:
                    self.wfile.flush()
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


def test_a_broken_download_goes_on_where_it_stopped(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's client waits between its own attempts
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)  # what it keeps of a cut connection
    hub.breaks_after = 400
    assert download(hub, tmp_path / "saes") == 0, capsys.readouterr().err
    starts = [int(wanted.removeprefix("bytes=").split("-")[0]) for wanted in hub.ranges]
    assert starts == list(range(400, len(hub.files[f"{SAE}/state_dict.pth"]), 400))
    assert load_sae(tmp_path / "saes" / SAE).identity.n == 12


def test_a_damaged_file_is_refused_and_removed(hub, tmp_path, capsys):
    name = f"{SAE}/state_dict.pth"
    hub.files[name] = hub.files[name][:-1] + b"?"
    assert download(hub, tmp_path / "saes") == 1
    assert "damaged" in capsys.readouterr().err
    assert not (tmp_path / "saes" / name).exists()


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
