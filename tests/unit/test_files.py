from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from saeuron.errors import SaeuronError
from saeuron.files import (
    check_format,
    format_safetensors,
    read_pickle,
    read_safetensors,
    read_text,
    resolve_inside,
    write_atomically,
)
from support.examples import examples

ROOT = Path(__file__).parents[2]

links = pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")


def test_writes_new_file_with_missing_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


KILLED = """
import os, sys
from pathlib import Path
from saeuron.files import write_atomically
moment, path = sys.argv[1], Path(sys.argv[2])
def die(*_arguments): os._exit(9)
if moment == "before the data is on disk": os.fsync = die
if moment == "before the rename": Path.replace = os.replace = os.rename = die
write_atomically(path, b"new" * 100_000)
if moment == "after": os._exit(9)
"""


@pytest.mark.parametrize("moment", ["before the data is on disk", "before the rename", "after"])
def test_killed_while_writing_leaves_old_or_new(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    process = subprocess.run([sys.executable, "-c", KILLED, moment, str(path)], cwd=ROOT, check=False)
    assert process.returncode == 9
    assert path.read_bytes() == (b"new" * 100_000 if moment == "after" else b"old")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failure_keeps_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(*((os, call) if call == "fsync" else (Path, call)), fail)
        with pytest.raises(SaeuronError, match=r"file can't be written to .*disk full.*Nothing was changed"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [bytes([letter]) * 500_000 for letter in b"ab"]
    write_atomically(path, versions[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(60):
            write_atomically(path, versions[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen == set(versions)


@pytest.mark.parametrize(
    "name", ["cats.json", "pets/cats.json", "pets\\cats.json", "a.b/c d.json", "console", "naïve 猫"]
)
def test_finds_names_inside(tmp_path: Path, name: str) -> None:
    assert resolve_inside(tmp_path, name) == tmp_path.joinpath(*name.replace("\\", "/").split("/"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "\\\\server\\share\\x",
        "C:\\x",
        "c:x",
        "../x",
        "a/../../x",
        "a\\..\\..\\x",
        "a//b",
        "a/",
        "x\0.json",
        "x\n.json",
        "x.json:stream",
        "what?.json",
        "NUL",
        "nul.json",
        "a/CON/b",
        "Com1.txt",
        "lpt¹",
        "conin$",
        "x.",
        "x ",
        ".. ",
        "a" * 256,
        "猫" * 86,
        "\ud800",
    ],
)
def test_refuses_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(SaeuronError):
        resolve_inside(tmp_path, name)


@settings(deadline=None, max_examples=examples(100))
@given(st.text(st.sampled_from("ab./\\:~ \0CONul*"), max_size=12))
def test_never_leaves_the_folder(name: str) -> None:
    folder = Path("/somewhere/folder")
    try:
        path = resolve_inside(folder, name)
    except SaeuronError:
        return
    assert path != folder
    assert path.is_relative_to(folder) and ".." not in path.parts


@links
def test_links_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "file").write_bytes(b"x")
    (folder / "link").symlink_to(outside)
    (tmp_path / "alias").symlink_to(folder)
    assert resolve_inside(folder, "link/file").read_bytes() == b"x"
    assert resolve_inside(tmp_path / "alias", "link\\file").read_bytes() == b"x"


STAND_INS = {
    "pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 5\n", "git lfs pull"),
    "page": ("<!DOCTYPE html>\n<html><head><title>Sign in</title>" + " " * 5000, "/resolve/"),
    "page with mark": ("\ufeff\n <HTML lang=en>Sign in</HTML>", "web page"),
    "page in XML": ('<?xml version="1.0"?><html/>', "web page"),
    "page with comment": ("<!-- saved -->\n<html></html>", "web page"),
}
READERS = {
    "safetensors": ("x.safetensors", read_safetensors),
    "pickle": ("x.pth", read_pickle),
    "text": ("x.json", lambda path: read_text(path, 1 << 20)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", STAND_INS)
def test_what_people_have_in_place_of_a_file_is_named(tmp_path: Path, reader: str, kind: str) -> None:
    name, read = READERS[reader]
    content, said = STAND_INS[kind]
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(SaeuronError, match=said) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)


@links
@pytest.mark.parametrize("reader", READERS)
def test_a_broken_link_is_called_one(tmp_path: Path, reader: str) -> None:
    name, read = READERS[reader]
    (tmp_path / name).symlink_to(tmp_path / "gone")
    with pytest.raises(SaeuronError, match=r"broken link.*gone"):
        read(tmp_path / name)
    (tmp_path / "folder").symlink_to(tmp_path / "disk")
    with pytest.raises(SaeuronError, match=r"folder is a broken link.*disk"):
        read(tmp_path / "folder" / name)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"Entry not found", "Entry not found"), (b'{"error": "Access to it is restricted"}', "error")],
)
def test_an_answer_in_place_of_weights_is_shown(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SaeuronError, match=f"{name}.*{said}.*Download it again"):
        READERS["pickle" if name.endswith("pth") else "safetensors"][1](tmp_path / name)


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(tmp_path / "x.json", 100) == "{}"


def test_reads_safetensors_without_holding_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(1000.0)}, path, {"k": "v"})
    tensors, metadata = read_safetensors(path)
    with path.open("r+b") as file:  # the same file, so that a tensor mapped to it would change
        file.write(b"\xff" * path.stat().st_size)
    assert metadata == {"k": "v"}
    assert torch.equal(tensors["a"], torch.arange(1000.0))


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 100, (1 << 62).to_bytes(8, "little") + b"{}"])
def test_refuses_what_is_not_safetensors(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SaeuronError, match=r"x\.safetensors"):
        read_safetensors(path)


@pytest.mark.parametrize("version", ["1.0", "1.7", "0.9"])
def test_format_accepts_known_majors(version: str) -> None:
    check_format("f", version, "f", "1.0", "x.json")


@pytest.mark.parametrize(
    ("found", "version", "message"),
    [
        ("g", "1.0", "not a f file"),
        (None, "1.0", "None"),
        ("f", "2.0", "Update the pack"),
        ("f", "10.0", "Update the pack"),
        ("f", "1", "expected something like"),
        ("f", 1.0, "expected something like"),
        ("f", None, "expected something like"),
        ("f", "9" * 5000 + ".0", "expected something like"),
    ],
)
def test_format_refuses_others(found: object, version: object, message: str) -> None:
    with pytest.raises(SaeuronError, match=message) as caught:
        check_format(found, version, "f", "1.0", "x.json")
    assert "x.json" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_safetensors_of_the_same_content_are_the_same_bytes(tmp_path):
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.arange(3), "half": torch.ones(5).half()}
    metadata = {f"key {number}": "ünï" * number for number in range(20)}
    first = format_safetensors(tensors, metadata)
    assert first == format_safetensors(dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    (tmp_path / "file.safetensors").write_bytes(first)
    found, also = read_safetensors(tmp_path / "file.safetensors")
    assert also == metadata and all(torch.equal(found[name], tensors[name]) for name in tensors)
