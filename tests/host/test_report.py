"""What nodes show beside their outputs."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tools.pack import pack as import_from_pack


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
    import_from_pack("nodes.host.runs").send_text("3 tokens", "7")


def test_text_reaches_the_running_server(monkeypatch):
    sent = []
    instance = SimpleNamespace(send_progress_text=lambda text, node_id: sent.append((text, node_id)))
    monkeypatch.setitem(sys.modules, "server", module_named_server(PromptServer=SimpleNamespace(instance=instance)))
    send_text = import_from_pack("nodes.host.runs").send_text
    send_text("3 tokens", None)
    send_text("3 tokens", "7")
    assert sent == [("3 tokens", "7")]


def test_what_is_unfinished_is_kept_or_the_log_says_why_not(pack, tmp_path, monkeypatch, caplog):
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    keep = import_from_pack("nodes.host.runs").keep_unfinished
    for _ in range(2):
        keep("sweep", np.zeros((2, 3, 3), np.uint8), [{"multiplier": -1}])
    names = [f"sweep_0000{number}_unfinished.{kind}" for number in (1, 2) for kind in ("json", "png")]
    assert sorted(path.name for path in (tmp_path / "saeuron").iterdir()) == names
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path / "saeuron" / names[0]))
    keep("sweep", np.zeros((2, 3, 3), np.uint8), [])
    assert "what there is of it is lost: sweep_00001_unfinished.png can't be written" in caplog.text
