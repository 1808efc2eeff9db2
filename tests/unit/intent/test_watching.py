# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the watches of all adapters share: what is reported, and what a failing callback may do."""

from __future__ import annotations

import pytest

from edgeagent.errors import UnavailableError
from edgeagent.intent.port import Connection, Entry, OnConnection, OnEntry
from edgeagent.intent.watching import WatchThread, read_once
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
    with pytest.raises(UnavailableError, match=why):
        read_once(_Source(*said), ["a", "b"], 0.01)
