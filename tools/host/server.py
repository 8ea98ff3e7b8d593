"""A real ComfyUI process with the pack in its custom_nodes, driven over HTTP, for the tests and the demo.

    with ComfyServer() as server:
        outputs = server.run(read_prompt("unlearn_miniature"))
        pixels = server.image(outputs["14"]["images"][0])

Everything the process writes goes to a base directory of its own, and nothing but 127.0.0.1 is spoken to.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from tools.host.client import ComfyClient, Interrupted, ServerError
from tools.host.front_end import front_end_arguments
from tools.host.unpack import REPOSITORY, host_path

__all__ = ["ComfyServer", "Interrupted", "ServerError", "host_command", "host_environment", "make_base"]

PACK_NAME = "ComfyUI-SAeUron"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LEVEL = re.compile(r"^\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ?", re.MULTILINE)
BASE_FOLDERS = ("custom_nodes", "models", "input", "output", "user", "temp")


def make_base(base: Path, pack_name: str = PACK_NAME, pack_path: Path | None = REPOSITORY) -> None:
    """Make the folders of a base directory, with `pack_path` in custom_nodes: a folder is linked, an archive unpacked
    (None: without the pack)."""
    for name in BASE_FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    place = base / "custom_nodes" / pack_name
    if pack_path is None or place.exists():
        return
    if pack_path.is_file():
        with zipfile.ZipFile(pack_path) as archive:
            archive.extractall(place)
    else:
        place.symlink_to(pack_path.resolve(), target_is_directory=True)


def host_command(base: Path, port: int, cpu: bool = True, python: str | Path = sys.executable) -> list[str]:
    """The command line that starts ComfyUI on 127.0.0.1, offline, with `base` as its base directory."""
    command = [str(python), str(host_path() / "main.py"), "--base-directory", str(base), "--port", str(port)]
    # In a file, because several threads use it: with :memory: every other request logs an exception.
    command += ["--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"]
    command += ["--disable-api-nodes", "--disable-auto-launch", *front_end_arguments()]
    return [*command, "--cpu"] if cpu else command


def host_environment() -> dict[str, str]:
    """The environment for a ComfyUI process: no look-ups on the network, a log in UTF-8 that comes line by line."""
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return {**os.environ, **offline, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


class ComfyServer(ComfyClient):
    """A running ComfyUI, started and stopped by `with`.

    Args:
        with_pack: whether the pack is in custom_nodes.
        pack_name: the name of its folder there.
        pack_path: the folder that is linked there, the repository unless a test has another copy; or an archive that
            is unpacked there.
        base_directory: kept afterwards; without it, a temporary one is made and removed.
        extra_args: further arguments for ComfyUI's main.py.
        cpu: with --cpu, which the host takes for a choice of memory management: --lowvram and its like exclude it.
        env: environment variables to add.
        python: the one that runs ComfyUI.
        start_timeout: seconds until the server must answer. Long, because it costs nothing: a process that ends is
            noticed at once, and a busy machine can take minutes to load torch.

    Attributes:
        base: the base directory; files may be put into its models/ and input/ before the start and at any time after.
        log_path: what the process prints, as a file.
    """

    def __init__(
        self,
        *,
        with_pack: bool = True,
        pack_name: str = PACK_NAME,
        pack_path: Path = REPOSITORY,
        base_directory: Path | None = None,
        extra_args: Sequence[str] = (),
        cpu: bool = True,
        env: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
        start_timeout: float = 600.0,
    ) -> None:
        super().__init__(port=0)
        self._pack_name, self._pack_path = pack_name, pack_path if with_pack else None
        self._temporary = base_directory is None
        self.base = Path(tempfile.mkdtemp(prefix="comfyui-")) if base_directory is None else base_directory.resolve()
        self.log_path = self.base / "server.log"
        # Here and not at the start, so that a caller can put files there first.
        make_base(self.base, self._pack_name, self._pack_path)
        self._extra_args, self._cpu = list(extra_args), cpu
        self._env, self._python, self._start_timeout = dict(env or {}), python, start_timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ComfyServer:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- the end of ComfyUI's log ---\n{self.log_tail()}", file=sys.stderr)
        self._stop()

    def _start(self) -> None:
        self.port = free_port()
        command = [*host_command(self.base, self.port, self._cpu, self._python), *self._extra_args]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.base,
                env={**host_environment(), **self._env},
            )  # fmt: skip
        deadline = time.monotonic() + self._start_timeout
        while not self.answers():
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServerError(self._with_log(f"ComfyUI did not answer within {self._start_timeout:.0f} s."))
            time.sleep(0.1)
        if self._pack_path is not None and self._import_line().group("failed"):
            raise ServerError(self._with_log("ComfyUI could not import the pack."))

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._temporary:
            shutil.rmtree(self.base, ignore_errors=True)

    def check_alive(self) -> None:
        assert self._process is not None, "use the server in a `with` statement"
        code = self._process.poll()
        if code is not None:
            raise ServerError(self._with_log(f"ComfyUI has stopped with exit status {code}."))

    def resident_bytes(self) -> int:
        """How much memory the process holds."""
        assert self._process is not None, "use the server in a `with` statement"
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def log(self) -> str:
        """Everything that the process has printed so far, without the colours and levels that newer hosts print."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""
        return LEVEL.sub("", COLOUR.sub("", text))

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the log."""
        return "\n".join(self.log().splitlines()[-lines:])

    def _with_log(self, message: str) -> str:
        return f"{message}\n--- the end of its log ---\n{self.log_tail()}"

    def _import_line(self) -> re.Match[str]:
        name = re.escape(self._pack_name)
        pattern = rf"^ *(?P<seconds>[\d.]+) seconds(?P<failed> \(IMPORT FAILED\))?: .*{name}$"
        found = re.search(pattern, self.log(), re.MULTILINE)
        if found is None:
            raise ServerError(self._with_log("ComfyUI's log does not mention the pack."))
        return found

    def import_seconds(self) -> float:
        """What the pack added to the start, as ComfyUI measured it (to 0.1 s)."""
        return float(self._import_line().group("seconds"))


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
