"""Setting a newer ComfyUI up: what is unpacked is the known file, and without it nothing is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.host import front_end, matrix, newer
from tools.host.unpack import REPOSITORY, HostError


def test_without_the_archive_nothing_is_run_and_it_is_said(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(newer, "ARCHIVES", tmp_path)
    monkeypatch.setattr(sys, "argv", ["newer", "0.33.0", "-c", "raise SystemExit(3)"])
    assert newer.main() == 0
    assert "skipped" in capsys.readouterr().out


def test_another_file_of_that_name_is_refused(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(newer, "ARCHIVES", tmp_path / "archives")
    monkeypatch.setattr(newer, "REPOSITORY", tmp_path)
    (tmp_path / "archives").mkdir()
    newer.archive_of("0.33.0").write_bytes(b"something else")
    monkeypatch.setattr(sys, "argv", ["newer", "0.33.0"])
    assert newer.main() == 1
    assert "is not the known file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["archives"]


def test_a_host_that_is_not_known_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.host.newer", "0.1.0"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "ComfyUI 0.1.0 is not known" in done.stderr


def test_the_front_end_that_the_environment_names_is_served(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("FRONT_END", raising=False)
    assert front_end.front_end_arguments() == []
    monkeypatch.setattr(front_end, "REPOSITORY", tmp_path)
    folder = tmp_path / ".host" / "front-end-1.2.3"
    folder.mkdir(parents=True)
    (folder / "index.html").touch()
    monkeypatch.setenv("FRONT_END", "1.2.3")
    assert front_end.front_end_arguments() == ["--front-end-root", str(folder)]


def test_a_front_end_that_can_not_be_had_leaves_nothing_behind(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(front_end, "REPOSITORY", tmp_path)
    monkeypatch.setattr(front_end.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    with pytest.raises(HostError, match=r"could not download comfyui-frontend-package 0\.0\.0"):
        front_end.ensure_front_end("0.0.0")
    assert list(Path(tmp_path, ".host").iterdir()) == []


def test_the_matrix_is_written_between_its_marks() -> None:
    document = f"before\n{matrix.BEGIN}\nold\n{matrix.END}\nafter\n"
    row = ("0.33.0", "1.58.1", "1 passed", "-", "2 passed")
    written = matrix.with_table(document, [row])
    assert written.startswith("before\n") and written.endswith(f"{matrix.END}\nafter\n") and "old" not in written
    assert "| 0.33.0 | 1.58.1 | 1 passed | - | 2 passed |" in written
    assert matrix.with_table(written, [row]) == written
    assert matrix.BEGIN in matrix.REPORT.read_text(encoding="utf-8")


def test_counts_of_a_report() -> None:
    suite = '<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>'
    assert matrix.read_counts(suite) == "3 passed, 3 failed, 3 skipped"
    assert matrix.read_counts('<testsuite tests="2" failures="0" errors="0" skipped="0"/>') == "2 passed"


def test_the_front_ends_of_the_matrix() -> None:
    shown = [(c.host, c.front_end or matrix.own_front_end(c.host)) for c in matrix.combinations()]
    assert shown == [("0.3.75", "1.32.9"), ("0.3.75", "1.58.1"), ("0.33.0", "1.49.6"), ("0.33.0", "1.58.1")]


def test_a_matrix_that_was_stopped_goes_on(monkeypatch, tmp_path) -> None:
    first, second, third = [(c, tier) for c in matrix.combinations() for tier in c.tiers][:3]
    asked = []

    def counted(combination: matrix.Combination, tier: str) -> str:
        asked.append((combination, tier))
        if (combination, tier) == third:
            raise HostError("stopped")
        return "1 passed, 1 failed" if (combination, tier) == second and len(asked) < 3 else "2 passed"

    monkeypatch.setattr(matrix, "counts", counted)
    file = tmp_path / "output" / "matrix.json"
    kept = matrix.Kept(file, "a commit")
    assert [kept.counts(*tier) for tier in (first, second)] == ["2 passed", "1 passed, 1 failed"]
    with pytest.raises(HostError):
        kept.counts(*third)
    asked.clear()
    again = matrix.Kept(file, "a commit")
    assert again.counts(*first) == "2 passed" and asked == []
    asked.extend([first, first, first])
    assert again.counts(*second) == "2 passed" and asked[-1] == second  # what failed is counted again
    asked.clear()
    for of in ("another commit", ""):
        matrix.Kept(file, of).counts(*first)
    assert asked == [first, first]


@pytest.mark.parametrize("script", ["import sys; sys.exit(2)", ""])
def test_tests_that_were_stopped_are_not_counted(monkeypatch, script) -> None:
    run = subprocess.run
    monkeypatch.setattr(
        matrix.subprocess, "run", lambda *_, **options: run([sys.executable, "-c", script], check=options["check"])
    )
    with pytest.raises(HostError, match=r"tests/live on ComfyUI 0\.3\.75 did not come to the end"):
        matrix.counts(matrix.combinations()[0], "live")
