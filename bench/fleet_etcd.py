# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an etcd says of its own work: writings, memory, processor time, the size of its database."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from bench.etcd_server import Etcd

_NAMES = {
    "writes": "etcd_mvcc_put_total",
    "written": "etcd_debugging_mvcc_total_put_size_in_bytes",
    "ranges": "etcd_mvcc_range_total",
    "watchers": "etcd_debugging_mvcc_watcher_total",
    "streams": "etcd_debugging_mvcc_watch_stream_total",
    "database": "etcd_mvcc_db_total_size_in_bytes",
    "in_use": "etcd_mvcc_db_total_size_in_use_in_bytes",
    "memory": "process_resident_memory_bytes",
    "cpu": "process_cpu_seconds_total",
    "syncs": "etcd_disk_wal_fsync_duration_seconds_count",
    "sync_time": "etcd_disk_wal_fsync_duration_seconds_sum",
}
_EVERY_S = 0.5


@dataclass(frozen=True)
class Look:
    """One look. at: monotonic seconds; counts since the server's start; sizes in bytes; cpu: seconds of processor.

    written: bytes of keys and values; database: of the file; in_use: of it, what isn't free for new revisions; syncs,
    sync_time: how often the log was brought to the disk, and how many seconds that took.
    """

    at: float
    writes: float
    written: float
    ranges: float
    watchers: float
    streams: float
    database: float
    in_use: float
    memory: float
    cpu: float
    syncs: float
    sync_time: float


def look(etcd: Etcd) -> Look:
    """What it says now. Raises OSError."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{etcd.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = dict.fromkeys(_NAMES.values(), 0.0)
    for line in lines:
        name, value = line.split("{")[0].split(" ")[0], line.rpartition(" ")[2]
        if name in found:
            found[name] += float(value)
    return Look(time.monotonic(), **{name: found[theirs] for name, theirs in _NAMES.items()})


@dataclass
class Course:
    """Looks one after the other, while something goes on."""

    looks: list[Look] = field(default_factory=list)

    def per_second(self, name: str) -> float:
        """Growth of a count, on the average."""
        first, last = self.looks[0], self.looks[-1]
        return float(getattr(last, name) - getattr(first, name)) / max(last.at - first.at, 1e-9)

    def peak_per_second(self, name: str) -> float:
        """Its growth between the two looks between which it was fastest; nothing over a restart of the server."""
        steps = zip(self.looks, self.looks[1:], strict=False)
        return max(
            (float(getattr(b, name) - getattr(a, name)) / (b.at - a.at) for a, b in steps), default=0.0
        )

    def most(self, name: str) -> float:
        """The highest value."""
        return max(float(getattr(one, name)) for one in self.looks)

    def grown(self, name: str) -> float:
        """From the first look to the last."""
        return float(getattr(self.looks[-1], name) - getattr(self.looks[0], name))


@contextmanager
def course_of(etcd: Etcd) -> Iterator[Course]:
    """Looks every half a second until the block is left, one at its beginning and one at its end."""
    course, over = Course([look(etcd)]), threading.Event()

    def go_on() -> None:
        while not over.wait(_EVERY_S):
            with suppress(OSError):  # it is just being started anew
                course.looks.append(look(etcd))

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield course
    finally:
        over.set()
        thread.join()
        course.looks.append(look(etcd))
