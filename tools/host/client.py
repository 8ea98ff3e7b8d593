"""Speak to a running ComfyUI over HTTP: queue prompts, wait for them, fetch pictures."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from tools.host import events


class ServerError(Exception):
    """The server did not start, refused a prompt, or a node failed."""

    def __init__(self, message: str, node_errors: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.node_errors = dict(node_errors or {})
        """What the server found wrong before running anything, by node id."""


class Interrupted(ServerError):
    """The run was interrupted."""


class ComfyClient:
    """A client of the ComfyUI that listens on a port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._client_id = uuid.uuid4().hex
        # A proxy from the environment must not see requests to 127.0.0.1.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def address(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether the server is up."""
        try:
            with self._opener.open(f"{self.address}/system_stats", timeout=10) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def check_alive(self) -> None:
        """Called while waiting. Raises ServerError where it is known that no answer will come."""

    def request(self, path: str, body: Any = None) -> bytes:
        """GET `path`, or POST `body` to it as JSON. Raises ServerError with the server's own words."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=120) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            raise _refusal(path, error.code, error.read()) from None
        except OSError as error:
            self.check_alive()
            raise ServerError(f"ComfyUI does not answer {path}: {error}") from error

    def get(self, path: str) -> Any:
        """GET a JSON document."""
        return json.loads(self.request(path))

    def object_info(self) -> dict[str, Any]:
        """All node classes: inputs, outputs, names."""
        return dict(self.get("/object_info"))

    def queue(self, api_prompt: Mapping[str, Any]) -> str:
        """Queue a prompt in API format and return its id.

        Raises:
            ServerError: the server found something wrong in it. Outputs that do not depend on that run nevertheless.
        """
        answer = json.loads(self.request("/prompt", {"prompt": api_prompt, "client_id": self._client_id}))
        if answer.get("node_errors"):
            raise ServerError(_describe(answer["node_errors"]), answer["node_errors"])
        return str(answer["prompt_id"])

    def wait(self, prompt_id: str, timeout: float = 600.0) -> dict[str, Any]:
        """The history entry of a prompt, once it has run.

        Raises:
            ServerError: a node failed (its message and traceback are in the text), or time is up.
            Interrupted: the run was interrupted.
        """
        deadline = time.monotonic() + timeout
        while True:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                _check_run(entry)
                return dict(entry)
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServerError(f"The prompt did not end within {timeout:.0f} s.")
            time.sleep(0.1)

    def run(self, api_prompt: Mapping[str, Any], timeout: float = 600.0) -> dict[str, Any]:
        """Queue a prompt, wait for it, and return what its output nodes show, by node id. Raises as `wait`."""
        return dict(self.wait(self.queue(api_prompt), timeout)["outputs"])

    def record(
        self,
        api_prompt: Mapping[str, Any],
        on_event: Callable[[events.Event], None] | None = None,
        timeout: float = 600.0,
    ) -> events.Record:
        """Run a prompt and return what the browser would have been told. A run that fails is recorded, not raised."""
        url = f"ws://127.0.0.1:{self.port}/ws?clientId={self._client_id}"
        record = events.record(url, lambda: self.queue(api_prompt), on_event, timeout)
        record.history = self.get(f"/history/{record.prompt_id}")[record.prompt_id]
        return record

    def interrupt(self) -> None:
        """Interrupt what runs now; its `wait` raises Interrupted."""
        self.request("/interrupt", {})

    def image(self, entry: Mapping[str, str]) -> np.ndarray:
        """The picture of one entry of an output's `images`: uint8 [H, W, 3]."""
        query = {key: entry[key] for key in ("filename", "subfolder", "type")}
        with Image.open(io.BytesIO(self.request(f"/view?{urllib.parse.urlencode(query)}"))) as image:
            return np.asarray(image.convert("RGB"))


def _refusal(path: str, code: int, body: bytes) -> ServerError:
    try:
        content = json.loads(body)
        error, node_errors = content["error"], content.get("node_errors") or {}
    except (ValueError, KeyError, TypeError):
        return ServerError(f"ComfyUI answered {path} with status {code}: {body[:500].decode(errors='replace')}")
    lines = [f"{error['message']} {error['details']}".strip(), _describe(node_errors)]
    return ServerError("\n".join(filter(None, lines)), node_errors)


def _describe(node_errors: Mapping[str, Any]) -> str:
    return "\n".join(
        f"node {node} ({found['class_type']}): {error['message']}: {error['details']}"
        for node, found in node_errors.items()
        for error in found["errors"]
    )


def _check_run(entry: Mapping[str, Any]) -> None:
    status = entry["status"]
    if status["status_str"] == "success":
        return
    for kind, data in status["messages"]:
        if kind == "execution_interrupted":
            raise Interrupted(f"The run was interrupted in node {data['node_id']} ({data['node_type']}).")
        if kind == "execution_error":
            what = f"{data['exception_type']}: {data['exception_message']}".strip()
            trace = "".join(data["traceback"])
            raise ServerError(f"node {data['node_id']} ({data['node_type']}): {what}\n{trace}")
    raise ServerError(f"The run ended with status {status['status_str']!r}.")
