"""Labels beside an SAE: found, read strictly, shown."""

from __future__ import annotations

import pytest

from saeuron.errors import SaeuronError
from saeuron.sae.labels import labels_path, named, read_labels

N = 50


def test_where_labels_are_looked_for(tmp_path):
    file = tmp_path / "my.sae.safetensors"
    file.touch()
    folder = tmp_path / "final"
    folder.mkdir()
    assert labels_path(file) is None and labels_path(folder) is None
    (tmp_path / "labels.json").touch()
    assert labels_path(file) == tmp_path / "labels.json" and labels_path(folder) is None
    (tmp_path / "my.sae.labels.json").touch()
    assert labels_path(file) == tmp_path / "my.sae.labels.json"
    (folder / "labels.json").touch()
    assert labels_path(folder) == folder / "labels.json"


def test_reading(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('\ufeff{"0": "soft fur", "49": " Schnurrhaare ", "7": "鳥"}', encoding="utf-8")
    labels = read_labels(path, N)
    assert labels == {0: "soft fur", 49: "Schnurrhaare", 7: "鳥"}
    assert named(0, labels) == "0 (soft fur)" and named(1, labels) == "1"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", '{"0": 1}', '{"0": null}', '{"0": ["a"]}', '{"50": "a"}', '{"-1": "a"}', '{"01": "a"}',
        '{"1.0": "a"}', '{"a": "b"}', '{"²": "b"}', '{"0": "two\\nlines"}', '{"0": "\\u0000"}', '{"0": "\\ud800"}',
        '{"0": "a", "0": "b"}', '{"0": "' + "a" * 201 + '"}', "{" * 100,
    ],
)  # fmt: skip
def test_what_is_no_file_of_labels(tmp_path, text):
    path = tmp_path / "labels.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SaeuronError, match=r"labels\.json"):
        read_labels(path, N)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "labels.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(SaeuronError, match="UTF-8"):
        read_labels(path, N)
    path.write_bytes(b" " * ((4 << 20) + 1))
    with pytest.raises(SaeuronError, match="larger than 4 MiB"):
        read_labels(path, N)
