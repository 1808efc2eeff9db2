# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shell offers: models, versions and tags, from a folder or from the node; never an error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeagent.cli import completion
from edgeagent.cli.main import main


def given(**params: Any) -> Any:
    """What stands on the line already."""
    return SimpleNamespace(params=params)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """With two models."""
    for path in ("yolo/v1", "yolo/v2", "yolo/half", "ocr", "_snapshots"):
        (tmp_path / path).mkdir(parents=True)
    for version in ("v1", "v2"):
        (tmp_path / "yolo" / version / "manifest.json").touch()
    (tmp_path / "yolo" / "_tags").mkdir()
    (tmp_path / "yolo" / "_tags" / "stable.json").touch()
    return str(tmp_path)


def test_from_a_folder(store: str) -> None:
    """Versions that are whole, and tags."""
    assert completion.models(given(store=store), "") == ["ocr", "yolo"]
    assert completion.models(given(store=f"file://{store}"), "y") == ["yolo"]
    assert completion.versions(given(store=store, model="yolo"), "") == ["@stable", "v1", "v2"]
    assert completion.versions(given(store=store, model="none"), "") == []


def test_from_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine, or at --url; names that could play tricks are left out."""
    answers = {"/api/status": {"models": {"yolo": {}, "a b": {}, "x\x1b": {}}}}
    answers["/api/models/yolo/versions"] = {"versions": [{"version": "v1"}, {"version": "v2"}]}
    asked = []

    def answer(context: Any, path: str) -> dict[str, Any]:
        asked.append(path)
        return answers.get(path, {})

    monkeypatch.setattr(completion, "_asked", answer)
    assert completion.models(given(), "") == ["yolo"]
    assert completion.versions(given(model="yolo"), "v2") == ["v2"]
    assert completion.versions(given(model="a/../b"), "") == []
    assert asked[-1] == "/api/models/a%2F..%2Fb/versions"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "file:///etc"])
def test_nobody_there(url: str) -> None:
    """Nothing to offer, and nothing is said."""
    assert completion.models(given(url=url, token_file="/nope"), "") == []


def test_the_shell_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: str
) -> None:
    """As bash does: commands, and names in their places."""
    monkeypatch.setenv("_EDGEAGENT_COMPLETE", "complete_bash")

    def offered(line: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        with pytest.raises(SystemExit):
            main([])
        return capsys.readouterr().out.split()

    assert offered("edgeagent stat") == ["status"]
    assert offered(f"edgeagent tag --store {store} yolo v") == ["v1", "v2"]
    assert offered(f"edgeagent rollout start --store {store} y") == ["yolo"]


def test_the_script_for_the_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `--show-completion` prints is to be sourced."""
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["--show-completion"])
    assert ended.value.code in (0, None)
    assert "_EDGEAGENT_COMPLETE=complete_bash" in capsys.readouterr().out
