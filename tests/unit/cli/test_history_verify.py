# SPDX-License-Identifier: AGPL-3.0-or-later
"""`history --verify`: what it prints and how it exits, over a folder and through a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli import node_commands
from edgeagent.cli.main import main
from edgeagent.observe.audit import FILE_NAME, AuditLog, AuditRecord


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder with a log of three records, and a refusal."""
    log = AuditLog(tmp_path)
    for version in ("v1", "v2", "v3"):
        log.append(AuditRecord("update", "yolo", result="swapped", to_version=version))
    log.append(AuditRecord("update", "yolo", result="rejected", to_version="v4"))
    log.settle()
    return tmp_path


def verify(folder: Path, *args: str) -> int:
    """The command over a folder."""
    return main(["history", "--verify", "--state-dir", str(folder), *args])


def test_a_log_as_it_was_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, how many records there are, and the head, which is an anchor then."""
    assert verify(folder) == 0
    out = capsys.readouterr().out
    assert "audit.jsonl: records 1 to 3 are as they were written" in out
    assert "refused.jsonl: records 1 to 1 are as they were written" in out
    assert "--anchor" in out
    head = next(line.split()[-1] for line in out.splitlines() if line.startswith("audit.jsonl: head"))
    assert head == AuditLog(folder).head
    assert verify(folder, "--anchor", head) == 0
    assert verify(folder, "--anchor", f"3:{'0' * 64}") == 1


def test_a_changed_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and the first broken record, in words and as JSON."""
    path = folder / FILE_NAME
    path.write_text(path.read_text().replace('"v2"', '"v9"'))
    assert verify(folder) == 1
    assert (
        "audit.jsonl line 2: record 2 was changed: its content doesn't match its hash"
        in capsys.readouterr().out
    )
    assert verify(folder, "--json") == 1
    doc = json.loads(capsys.readouterr().out)
    assert (doc["intact"], doc["logs"][FILE_NAME]["broken"]["seq"]) == (False, 2)


def test_a_log_of_which_all_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The head still tells of it."""
    (folder / FILE_NAME).unlink()
    assert verify(folder) == 1
    assert "audit.jsonl: record 1 was removed" in capsys.readouterr().out


def test_a_folder_without_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was ever written: nothing is wrong, and that is said."""
    assert verify(tmp_path) == 0
    assert "audit.jsonl: no records in a chain yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "start"),
    [
        (["--state-dir", "/nope", "--verify"], "error: --state-dir /nope: no such folder"),
        (["--state-dir", "/"], "error: --anchor and --state-dir: are of --verify"),
        (["--verify", "--state-dir", "/", "--anchor", "x"], "error: the anchor: 'x' is not NUMBER:HASH"),
    ],
)
def test_wrong_arguments(args: list[str], start: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and one line."""
    assert main(["history", *args]) == 2
    assert capsys.readouterr().err.startswith(start)


def test_a_node_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its answer decides the exit code."""
    asked: list[str] = []
    broken = {"how": "removed", "seq": 7, "file": "audit.jsonl.1", "line": 3, "why": "\x1b[31mred"}

    def ask(_url: str, path: str, *_: Any, **__: Any) -> Any:
        asked.append(path)
        report = {
            "records": 6,
            "first": 1,
            "head": "",
            "unchained": 2,
            "torn": 1,
            "broken": broken,
            "notes": ["a"],
        }
        return {"intact": False, "logs": {"audit.jsonl": report}}

    monkeypatch.setattr(node_commands, "ask", ask)
    assert main(["history", "--verify", "--anchor", "7:ab"]) == 1
    assert asked == ["/api/history/check?anchor=7%3Aab"]
    out = capsys.readouterr().out
    assert "audit.jsonl.1 line 3: record 7 was removed:  [31mred" in out
    assert "2 older records are in no chain" in out
