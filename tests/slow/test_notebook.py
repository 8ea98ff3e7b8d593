"""The notebook in docs runs from its first cell to its last, as it is committed."""

from __future__ import annotations

from tools.host.unpack import REPOSITORY


def test_it_runs_and_shows_pictures_and_tables(monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("IMAGES", "1")
    notebook = nbformat.read(REPOSITORY / "docs" / "Unlearning.ipynb", as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(REPOSITORY / "docs")}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("2. Unlearning accuracy" in output.get("text", "") for output in outputs)
