# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `status` and `history` print: for people, for pipes, and where stdout speaks no Unicode."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from edgeagent.cli import client
from edgeagent.cli.main import main
from edgeagent.cli.render import show_history, show_status
from edgeagent.cli.tables import printable
from edgeagent.observe.audit import AuditRecord
from edgeagent.status.schema import History, to_json
from tests.support.statuses import a_model, a_status

HISTORY = History(history=[AuditRecord("update", "yolo", "Änne", "v1", "v2", why="\x1b[31mred …\r\n")])


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The answers of a node by path, from no socket; a test may change them."""
    answers: dict[str, object] = {
        "/api/status": json.loads(to_json(a_status())),
        "/api/history": json.loads(to_json(HISTORY)),
    }
    monkeypatch.setattr(
        "edgeagent.cli.node_commands.ask", lambda url, path, *_how, **_with: answers[path.partition("?")[0]]
    )
    return answers


def as_ascii(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Stdout as it is with PYTHONIOENCODING=ascii: a character that it doesn't know is an error."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii", write_through=True))
    return out


def test_the_status_says_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    """Versions, engines and states in tables; what keeps a version from serving in lines below."""
    show_status(a_status())
    out = capsys.readouterr().out
    for text in (
        "node n1, config store file:///x connected",
        "further source zk://h:1 NOT connected: refused",
        "not written to disk: read-only",
        "onnxruntime-cpu",
        "held on v1 by eve until",
        "v4 is at FETCHING (w.onnx: 0.0 of 0.0 MB) (for its turn: labels is being updated; place 1 of 1)",
        "place 1 of 1) the store is away",
        "v5 is made ready, at ASPIRED: v4 comes first",
        "v2 rejected: class names differ",
        "v2 (@stable)",
        "v1 serves, and was withdrawn: finds no dents (eve)",
        "v1 keeps failing: NaN; there is no version before it",
        "roll-out r7 of v4 is rolling, wave 2; this node: begun",
        "last error: disk full",
        "30.0",
        "9.5",
        "4711",
    ):
        assert text in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"phase": "", "is_in": False, "wave": -1}, "is rolling; this node: not in yet"),
        ({"phase": ""}, "is rolling, wave 2; this node: nothing to do"),
        ({"phase": "rolled_back", "why": "crashed"}, "wave 2; this node: rolled back: crashed"),
        ({"orphaned": True, "leader": False}, "this node: begun; NO COORDINATOR LEADS IT"),
    ],
)
def test_what_the_node_does_in_a_roll_out(
    given: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with the reason."""
    model = a_model()
    assert model.rollout
    model = model.model_copy(update={"rollout": model.rollout.model_copy(update=given)})
    show_status(a_status().model_copy(update={"models": {"yolo": model}}))
    assert line in capsys.readouterr().out


def test_a_version_that_is_yet_to_be_tuned_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    """With what is being tried; else it might be taken for a slow node."""
    model = a_model()
    assert model.active
    rebuild = model.candidate and model.candidate.model_copy(update={"trial": "openvino-cpu-bf16"})
    active = model.active.model_copy(update={"tuning": "unconverted"})
    model = model.model_copy(update={"active": active, "rebuild": rebuild})
    show_status(a_status().model_copy(update={"models": {"yolo": model}}))
    assert (
        "yolo: v1 serves as it was published, while what is fastest is found out (openvino-cpu-bf16 now)"
        in capsys.readouterr().out
    )


def test_a_store_that_is_away_is_said_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """First of all, since nothing new can come from there."""
    away = a_status().config_store.model_copy(update={"connected": False, "why": "refused"})
    show_status(a_status().model_copy(update={"config_store": away, "models": {}}))
    out = capsys.readouterr().out
    assert "file:///x NOT connected refused" in out
    assert "no model" in out


def test_texts_of_a_node_play_no_tricks(capsys: pytest.CaptureFixture[str]) -> None:
    """A reason with control characters stays one line without them."""
    show_history(HISTORY.history)
    out = capsys.readouterr().out
    assert "v1 → v2" in out
    assert "[31mred …" in out
    assert "\x1b" not in out
    assert printable("a\x1b[2Jb\nc") == "a [2Jb c"


def test_in_a_narrow_terminal_nothing_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long texts go on in the next line; date, time and result stay whole."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")  # which has 80 columns
    why = "the intent changed while it was fetched"
    when = "2026-11-28T18:10:52.622Z"
    old, new = "main-2026-11-27", "main-2026-11-28.rc1"
    show_history(
        [AuditRecord("update", "yolo", "bob from 127.0.0.1", old, new, "", "", "superseded", why, when=when)]
    )
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert {"2026-11-28", "18:10:52.622Z", "superseded"} <= set(out.split())
    shown = "".join(out.split()).replace("127.0.0.1:", "127.0.0.1")
    texts = ("update", "yolo", "bobfrom127.0.0.1", f"{old}→{new}", "superseded", why, when.replace("T", ""))
    assert sorted(shown) == sorted("".join(texts).replace(" ", ""))  # each letter of them


@pytest.mark.parametrize("command", ["status", "history"])
def test_where_stdout_speaks_no_unicode_plain_characters_come(
    command: str, node: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likenesses instead of an error; the columns stay below each other."""
    out = as_ascii(monkeypatch)
    assert main([command]) == 0
    text = out.getvalue().decode("ascii")
    assert ("v1 -> v2" if command == "history" else "onnxruntime-cpu") in text
    widths = {len(line) for line in text.splitlines() if line.startswith(("|", "+"))}
    assert widths
    assert command == "status" or len(widths) == 1


def test_where_stdout_speaks_no_unicode_json_stays_whole(
    node: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON has a way to write them all."""
    out = as_ascii(monkeypatch)
    assert main(["history", "--json"]) == 0
    assert json.loads(out.getvalue()) == node["/api/history"]


def test_an_answer_without_the_form_is_said_to_have_none(
    node: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the field, and a way to see it all the same."""
    node["/api/status"] = {"node": "n1"}
    assert main(["status"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(
        f"error: node at {client.DEFAULT_URL}: the answer is not that of a node of this release"
    )
    assert err.endswith("; --json shows it as it is\n")
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"node": "n1"}
