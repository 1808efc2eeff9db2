# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the watches of all adapters share: what is reported, and what a failing callback may do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, cycle, repeat

import pytest

from edgeagent.errors import UnavailableError
from edgeagent.intent.port import Connection, Entry, OnConnection, OnEntry
from edgeagent.intent.watching import ASK_EVERY_S, WatchThread, read_once
from edgeagent.util.backoff import Backoff


class _Watch(WatchThread):
    def _follow(self) -> None:
        raise NotImplementedError

    def _interrupt(self) -> None:
        """Nothing runs."""

    def tell(self, *said: Entry | Connection) -> None:
        """Report as an adapter does."""
        for what in said:
            if isinstance(what, Entry):
                self._report_entry(what)
            else:
                self._report_connection(what)


def test_only_what_is_new_is_reported() -> None:
    """The same entry or connection twice in a row is one report; another revision or value is a new one."""
    entries: list[Entry] = []
    connections: list[Connection] = []
    watch = _Watch("x://", entries.append, connections.append, Backoff(0, 0))
    one, again, restored = Entry("k", b"v1", "1"), Entry("k", b"v1", "2"), Entry("k", b"v2", "2")
    up, down, refused = Connection(True), Connection(False, "gone"), Connection(False, "refused")
    watch.tell(up, up, one, one, again, up, restored, one, down, down, refused, up)
    assert entries == [one, again, restored, one]
    assert connections == [up, down, refused, up]


def test_a_failing_callback_does_not_end_the_reports() -> None:
    """Its exception is swallowed by the log, and the entry counts as reported."""
    seen: list[Entry] = []

    def on_entry(entry: Entry) -> None:
        seen.append(entry)
        raise ValueError("a defect of the caller's")

    watch = _Watch("x://", on_entry, lambda connection: None, Backoff(0, 0))
    watch.tell(Entry("k", b"1", "1"), Entry("k", b"1", "1"), Entry("k", b"2", "2"))
    assert [e.value for e in seen] == [b"1", b"2"]


class _Away(WatchThread):
    """A store that can't be read, whose server answers as the test says; time is the test's."""

    def __init__(self, answers: Iterator[bool]) -> None:
        super().__init__("x://", lambda entry: None, lambda connection: None, Backoff(64, 64, jitter=0))
        self._told = answers
        self.now = 0.0
        self._closed = self  # type: ignore[assignment]  # waits without waiting

    def _follow(self) -> None:
        raise NotImplementedError

    def _interrupt(self) -> None:
        """Nothing runs."""

    def _answers(self) -> bool:
        return next(self._told)

    def is_set(self) -> bool:
        """Never closed."""
        return False

    def wait(self, seconds: float) -> bool:
        """Time passes."""
        self.now += seconds
        return False

    def pause(self, monkeypatch: pytest.MonkeyPatch) -> float:
        """How long it waits before the next attempt."""
        began = self.now
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self._pause()
        monkeypatch.undo()
        return self.now - began


def test_a_server_that_begins_to_answer_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a silence: no back-off is waited out. One that has answered all the time has its pause (it refuses us)."""
    away = _Away(chain([False] * 5, [True], repeat(True)))
    assert away.pause(monkeypatch) < 6 * ASK_EVERY_S[1]
    assert away.pause(monkeypatch) == pytest.approx(64)


def test_a_server_that_stays_silent_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And found in a later pause, too; also one that fell silent and came back within it."""
    away = _Away(chain([True] * 10, repeat(False, 200), repeat(True)))
    assert away.pause(monkeypatch) == pytest.approx(64)
    away = _Away(chain([True] * 10, repeat(False, 20), repeat(True)))
    assert away.pause(monkeypatch) < 31 * ASK_EVERY_S[1]


def test_a_server_that_is_silent_now_and_then_is_not_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer after a silence would be an attempt, by each node of a plant, and each one fails: they get fewer.

    A success begins anew.
    """
    away = _Away(cycle([False, False, True]))
    pauses = [away.pause(monkeypatch) for _ in range(60)]
    assert pauses[0] < 3 * ASK_EVERY_S[1]
    assert sum(pauses[20:]) / 40 > 8
    away._report_connection(Connection(True))
    assert away.pause(monkeypatch) < 3 * ASK_EVERY_S[1]


class _Failing(WatchThread):
    """Fails once with an error, then ends."""

    def _follow(self) -> None:
        self._closed.set()
        raise UnavailableError("reading", "the chroot is missing", "create it")

    def _interrupt(self) -> None:
        """Nothing runs."""


def test_what_to_do_is_said_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status, and doctor, show what the adapter knows: also the remedy."""
    connections: list[Connection] = []
    watch = _Failing("x://", lambda entry: None, lambda connection: None, Backoff(0, 0))
    monkeypatch.setattr(watch, "_report_connection", connections.append)
    watch._run()
    assert connections == [Connection(False, "the chroot is missing; create it")]


class _Source:
    """Says at once what it was told to say."""

    url = "x://"

    def __init__(self, *said: Entry | Connection) -> None:
        self.said = said
        self.closed = 0

    def watch(self, keys: object, on_entry: OnEntry, on_connection: OnConnection) -> _Source:
        for what in self.said:
            on_entry(what) if isinstance(what, Entry) else on_connection(what)
        return self

    def close(self) -> None:
        self.closed += 1


def test_reading_once() -> None:
    """Every key, whether it is there or not, with what the source warns of; its watch is ended."""
    here, absent = Entry("a", b"v1", "1"), Entry("b", None, "absent")
    source = _Source(Connection(True, "mind the retention"), here, absent)
    assert read_once(source, ["a", "b"], 0.01) == ({"a": here, "b": absent}, "mind the retention")
    assert source.closed == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((Connection(False, "refused"),), "refused"),
        ((), "no answer"),
        ((Connection(True), Entry("a", b"v1", "1")), "no answer"),
    ],
)
def test_reading_once_from_what_is_not_there(said: tuple[Entry | Connection, ...], why: str) -> None:
    """With the reason; a key that nothing was said of isn't taken for absent."""
    with pytest.raises(UnavailableError, match=f"^intent source x://: {why}"):
        read_once(_Source(*said), ["a", "b"], 0.01)
