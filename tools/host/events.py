"""What a ComfyUI server tells the browser while it runs a prompt, recorded from its websocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

BINARY_KINDS = {1: "preview", 2: "preview", 3: "progress_text", 4: "preview"}


@dataclass(frozen=True)
class Event:
    """One message. Pictures and texts, which come as bytes, have their size as data."""

    type: str
    data: dict[str, Any]


@dataclass
class Record:
    """One run of a prompt, as the browser saw it."""

    prompt_id: str
    events: list[Event] = field(default_factory=list)
    history: dict[str, Any] = field(default_factory=dict)
    """The run's entry in the server's history: `outputs` by node id, `status`."""

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        """The data of the messages of one type, in order."""
        return [event.data for event in self.events if event.type == type_]

    @property
    def executed(self) -> list[str]:
        """The ids of the nodes that really ran, in order."""
        return [data["node"] for data in self.of_type("executing") if data["node"] is not None]

    @property
    def cached(self) -> list[str]:
        """The ids of the nodes whose earlier outputs were used again."""
        return [node for data in self.of_type("execution_cached") for node in data["nodes"]]

    def progress(self, node_id: str) -> list[tuple[float, float]]:
        """(value, max) of a node's progress bar, in order."""
        return [(data["value"], data["max"]) for data in self.of_type("progress") if data["node"] == node_id]

    @property
    def previews(self) -> int:
        """How many preview pictures were sent."""
        return len(self.of_type("preview"))


def record(
    url: str, submit: Callable[[], str], on_event: Callable[[Event], None] | None = None, timeout: float = 600.0
) -> Record:
    """Listen, submit a prompt, and return when its run has ended, whichever way.

    Args:
        url: the websocket's address, with the client id that `submit` uses.
        submit: queues the prompt and returns its id.
        on_event: called with each message as it comes, to act in the middle of a run (interrupt it, for instance).
        timeout: seconds for the whole run.

    Raises:
        TimeoutError: the run did not end in time.
    """
    return asyncio.run(asyncio.wait_for(_record(url, submit, on_event), timeout))


async def _record(url: str, submit: Callable[[], str], on_event: Callable[[Event], None] | None) -> Record:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
        # The server greets a client once it is registered; only then are a run's messages sent to it.
        await socket.receive()
        record_ = Record(await asyncio.to_thread(submit))
        async for message in socket:
            event = _event(message)
            if event is None or event.data.get("prompt_id", record_.prompt_id) != record_.prompt_id:
                continue
            record_.events.append(event)
            if on_event is not None:
                await asyncio.to_thread(on_event, event)
            if event.type == "executing" and event.data["node"] is None:
                return record_
    raise ConnectionError("The server closed the websocket before the run had ended.")


def _event(message: aiohttp.WSMessage) -> Event | None:
    """A message as an event, None for what has nothing to do with a run."""
    if message.type is aiohttp.WSMsgType.BINARY:
        kind = int.from_bytes(message.data[:4], "big")
        return Event(BINARY_KINDS.get(kind, f"binary_{kind}"), {"size": len(message.data)})
    if message.type is not aiohttp.WSMsgType.TEXT:
        return None
    content = json.loads(message.data)
    return None if content["type"] == "status" else Event(content["type"], content.get("data") or {})
