"""What nodes show beside their outputs."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from tools.pack import pack


def module_named_server(**members: object) -> ModuleType:
    module = ModuleType("server")
    vars(module).update(members)
    return module


@pytest.mark.parametrize(
    "server",
    [
        None,
        module_named_server(),
        module_named_server(PromptServer=type("PromptServer", (), {})),
        module_named_server(PromptServer=SimpleNamespace(instance=None)),
    ],
    ids=["no module", "somebody else's module", "a server that has not started", "a server that is gone"],
)
def test_without_a_running_server_text_is_shown_nowhere(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "server", server)
    pack("nodes.host.report").send_text("3 tokens", "7")


def test_text_reaches_the_running_server(monkeypatch):
    sent = []
    instance = SimpleNamespace(send_progress_text=lambda text, node_id: sent.append((text, node_id)))
    monkeypatch.setitem(sys.modules, "server", module_named_server(PromptServer=SimpleNamespace(instance=instance)))
    send_text = pack("nodes.host.report").send_text
    send_text("3 tokens", None)
    send_text("3 tokens", "7")
    assert sent == [("3 tokens", "7")]
