# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the watches of all adapters share: what is reported, and what a failing callback may do."""

from __future__ import annotations

from edgeagent.intent.port import Connection, Entry
from edgeagent.intent.watching import WatchThread
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
