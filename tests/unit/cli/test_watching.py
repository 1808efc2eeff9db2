# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--watch`: on a terminal in place, in a pipe what is new, also while who is asked is away."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from edgeagent.cli import history_watch, watching
from edgeagent.cli.history_watch import watch_history
from edgeagent.cli.watching import show_changes
from edgeagent.errors import UnavailableError
from edgeagent.observe.audit import AuditRecord
from edgeagent.status.schema import History


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks."""
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Of 12 lines; gives what is on it now, and what was before is gone."""
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    for module in (watching, history_watch):
        monkeypatch.setattr(module, "sys", SimpleNamespace(stdout=out, __stdout__=None))
    size = os.terminal_size((60, 12))
    monkeypatch.setattr(watching, "shutil", SimpleNamespace(get_terminal_size=lambda: size))

    def page() -> str:
        return out.getvalue().rpartition("\x1b[H")[2].removesuffix("\x1b[J").replace("\x1b[K\n", "\n")

    return page


def reading(*answers: object) -> Callable[[], object]:
    """These answers, one after the other; then Ctrl-C."""
    left = list(answers)

    def read() -> object:
        if not left:
            raise KeyboardInterrupt
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return read


WHEN = "2026-11-29T14:51:51.123Z"
AWAY = UnavailableError("node at http://x", "no answer", "is it running?")


def test_in_a_pipe_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each; that the node is away is said once, and that it is back."""
    show_changes(reading("a", "a", AWAY, AWAY, "b"), print, what="the node")
    out, err = capsys.readouterr()
    assert out.split() == ["a", "b"]
    assert err.splitlines() == [
        "warning: node at http://x: no answer; is it running?; it is tried again",
        "the node answers again",
    ]


def test_on_a_terminal_in_place(terminal: Callable[[], str]) -> None:
    """With the time; and with why nothing new comes, above what was there last."""
    show_changes(reading("a", "b"), print)
    head, body, _ = terminal().split("\n")
    assert (head.endswith("Ctrl-C ends it"), body) == (True, "b")
    show_changes(reading("a", AWAY), print)
    head, body, _ = terminal().split("\n")
    assert head.startswith("as of ")
    assert body == "a"


def test_more_than_the_terminal_has_room_for(terminal: Callable[[], str]) -> None:
    """How much is missing; nothing scrolls."""
    show_changes(reading("\n".join(map(str, range(40)))), print)
    lines = terminal().splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith("… 31 more lines")


def test_it_ends_by_itself(terminal: Callable[[], str]) -> None:
    """When it is over."""
    show_changes(reading("a", "b"), print, lambda found: found == "a")
    assert terminal().split("\n")[1] == "a"


def records(*whys: str) -> History:
    """Refusals with these reasons."""
    return History(
        history=[
            AuditRecord("update", "yolo", "eve", "v1", "v2", result="rejected", why=why, when=WHEN)
            for why in whys
        ]
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_history_in_a_pipe(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """Those that there are, and then each new one, in a line."""
    watch_history(reading(records("a"), records("a"), records("a", "b\x1b[2J")), as_json, "the node")  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    if as_json:
        assert [json.loads(line)["why"] for line in lines] == ["a", "b\x1b[2J"]
    else:
        assert [line.partition("  ")[2] for line in lines] == [
            "update  yolo  v1 → v2  rejected  eve  a",
            "update  yolo  v1 → v2  rejected  eve  b [2J",
        ]


def test_history_on_a_terminal(terminal: Callable[[], str]) -> None:
    """The newest first: what has no room is the oldest."""
    watch_history(reading(records("first", "last")), False, "the node")  # type: ignore[arg-type]
    page = terminal()
    assert page.index("last") < page.index("first")
