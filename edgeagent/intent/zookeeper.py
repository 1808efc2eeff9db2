# SPDX-License-Identifier: AGPL-3.0-or-later
"""Config store in ZooKeeper: the key `/models/yolo/current` is the znode of that path below the chroot.

ZooKeeper's watches fire once and get lost with connections, so a watch is only a hint here: what is reported
always comes from a read after a sync, and the keys are read every second or two without any hint.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from weakref import WeakSet

from kazoo.exceptions import AuthFailedError, KazooException, NoAuthError, SessionClosedRequireSaslError
from kazoo.handlers.threading import KazooTimeoutError

from edgeagent.errors import EdgeAgentError, UnavailableError, UsageError
from edgeagent.intent.port import (
    Access,
    Connection,
    Entry,
    Expected,
    Lease,
    OnConnection,
    OnEntry,
    Outcome,
    Watch,
    check_prefix,
)
from edgeagent.intent.url import Address
from edgeagent.intent.watching import ASK_S, WatchThread
from edgeagent.intent.zookeeper_session import NoChrootError, Session, SessionSettings, answers
from edgeagent.intent.zookeeper_write import Writer
from edgeagent.util.backoff import Backoff

MAX_VALUE_BYTES = 1_000_000
"""ZooKeeper drops the connection of whoever sends more than jute.maxbuffer, by default 1 MiB with everything."""
_REFUSALS = (NoAuthError, AuthFailedError, SessionClosedRequireSaslError)
_BATCH = 500  # questions that are asked before the first answer is awaited


def open_source(address: Address, access: Access) -> ZooKeeperStore:
    """The ZooKeeper at an address."""
    return ZooKeeperStore(SessionSettings(address.endpoints, address.path, access))


class ZooKeeperStore:
    """Keys of a ZooKeeper ensemble.

    A new znode gets the ACL of the folder that it is made in. A lease is a session: it ends when it is revoked, or
    when its process has given no sign of life for `ttl_s` (which the server keeps within 2 to 20 of its ticks).

    read_every_s: limits of the time after which the keys are read without any hint (seconds).
    backoff_s: limits of the delay after the first and after many failures of a watch (seconds).
    """

    def __init__(
        self,
        settings: SessionSettings,
        *,
        read_every_s: tuple[float, float] = (1.0, 2.0),
        backoff_s: tuple[float, float] = (0.1, 30.0),
    ) -> None:
        self.url = settings.url
        self._settings = settings
        self._read_every_s = read_every_s
        self._backoff_s = backoff_s
        self._session = Session(settings)
        self._watches: WeakSet[_ZooKeeperWatch] = WeakSet()
        self._leases: WeakSet[_ZooKeeperLease] = WeakSet()

    def get(self, key: str) -> Entry:
        """Read one key, after a sync. Raises UnavailableError; UsageError if ZooKeeper refuses the user."""
        _check_key(key)
        with translated(f"reading {key} from {self.url}"):
            return self._session.read([key])[0]

    def list(self, prefix: str) -> Sequence[Entry]:
        """See KeyValueStore.list, not at one instant. A znode without data is taken for a folder.

        Raises UnavailableError; UsageError if ZooKeeper refuses the user.
        """
        check_prefix(prefix)
        with translated(f"listing {prefix} of {self.url}"):
            keys = sorted(self._session.descendants(prefix))
            found: list[Entry] = []
            for start in range(0, len(keys), _BATCH):
                found += self._session.read(keys[start : start + _BATCH])
        return [entry for entry in found if entry.value]

    def put(self, key: str, value: bytes, lease: Lease | None = None) -> None:
        """Write one key, and make the folders above it.

        Raises UnavailableError; UsageError if ZooKeeper refuses the user or the value is too large.
        """
        todo = "read the key: it may have been written even so"
        if self._write((), {key: value}, lease, stamp=False) is Outcome.UNKNOWN:
            raise UnavailableError(f"writing {key} to {self.url}", "the answer was lost", todo)

    def compare_and_set(
        self, expected: Sequence[Expected], writes: Mapping[str, bytes | None], lease: Lease | None = None
    ) -> Outcome:
        """See KeyValueStore.compare_and_set; one transaction.

        `created` is told apart for keys that were created under a lease by this method. Raises UsageError if
        ZooKeeper refuses the user or a value is too large.
        """
        return self._write(expected, writes, lease, stamp=True)

    def _write(
        self,
        expected: Sequence[Expected],
        writes: Mapping[str, bytes | None],
        lease: Lease | None,
        *,
        stamp: bool,
    ) -> Outcome:
        for key, value in writes.items():
            _check_key(key)
            if value is not None and len(value) > MAX_VALUE_BYTES:
                todo = f"at most {MAX_VALUE_BYTES} (ZooKeeper's jute.maxbuffer)"
                raise UsageError(f"key {key}", f"{len(value)} bytes are too many", todo)
        with translated(f"writing {', '.join(writes)} to {self.url}"):
            if lease is None:
                writer = Writer(self._session)
            else:
                assert isinstance(lease, _ZooKeeperLease), "a lease of another store"
                writer = Writer(lease.session, lease.id)
            outcome = writer.write(expected, writes, stamp=stamp)
        if outcome is Outcome.UNKNOWN and not writes:
            raise UnavailableError(f"checking keys of {self.url}", "the answer was lost", "try again")
        return outcome

    def lease(self, ttl_s: float) -> Lease:
        """A session of its own. Raises UnavailableError, also after close; UsageError if ZooKeeper refuses the user."""
        session = Session(self._settings, session_s=ttl_s, lasting=True)
        try:
            with translated(f"asking {self.url} for a session"):
                lease = _ZooKeeperLease(self.url, session, ttl_s)
        except EdgeAgentError:
            session.close()  # else it would go on trying
            raise
        self._leases.add(lease)
        if self._session.closed:  # meanwhile: nobody would end this one
            session.close()
            raise UnavailableError(f"config store {self.url}", "it has been closed")
        return lease

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        """See IntentSource.watch; `connected`: the keys can be read. Raises UnavailableError after close."""
        if self._session.closed:  # nobody would end this watch
            raise UnavailableError(f"config store {self.url}", "it has been closed")
        for key in keys:
            _check_key(key)
        watch = _ZooKeeperWatch(
            self._settings,
            tuple(keys),
            on_entry,
            on_connection,
            backoff=Backoff(*self._backoff_s),
            read_every_s=self._read_every_s,
        )
        self._watches.add(watch)
        watch.start()
        return watch

    def close(self) -> None:
        """End every watch, lease and connection. Idempotent."""
        self._session.close()
        for watch in list(self._watches):
            watch.close()
        for lease in list(self._leases):
            lease.session.close()


class _ZooKeeperLease:
    """A session whose ephemeral znodes are the keys under the lease. kazoo keeps it alive while the process lives."""

    def __init__(self, url: str, session: Session, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.session = session
        self.id = session.id()
        self._url = url
        self._alive_at = time.monotonic()

    def keep_alive(self) -> bool:
        """See Lease.keep_alive. After `ttl_s` without an answer it is given up."""
        try:
            with translated(f"renewing a session of {self._url}"):
                self.session.read([])
                alive = self.session.id() == self.id
        except UnavailableError:
            if not self.session.closed and time.monotonic() < self._alive_at + self.ttl_s:
                raise
            alive = False
        if alive:
            self._alive_at = time.monotonic()
        else:
            self.session.close()
        return alive

    def revoke(self) -> None:
        """See Lease.revoke."""
        self.session.close(wait=True)


class _ZooKeeperWatch(WatchThread):
    def __init__(
        self,
        settings: SessionSettings,
        keys: tuple[str, ...],
        on_entry: OnEntry,
        on_connection: OnConnection,
        *,
        backoff: Backoff,
        read_every_s: tuple[float, float],
    ) -> None:
        super().__init__(settings.url, on_entry, on_connection, backoff)
        self._settings = settings
        self._session = Session(settings)
        self._keys = keys
        self._read_every_s = read_every_s
        self._hint = threading.Event()

    def _interrupt(self) -> None:
        self._session.close()
        self._hint.set()

    def _answers(self) -> bool:
        return answers(self._settings, ASK_S)

    def _follow(self) -> None:
        self._hint.clear()
        try:
            with translated(f"reading from {self._url}"):
                entries = self._session.read(self._keys, self._hinted)
        except NoChrootError as e:  # whoever makes it gives a hint
            self._report_connection(Connection(False, f"{e.why}; {e.todo}"))
            self._hint.wait(random.uniform(*self._read_every_s))
            return
        self._report_connection(Connection(True))
        for entry in entries:
            self._report_entry(entry)
        self._hint.wait(random.uniform(*self._read_every_s))

    def _hinted(self, event: object) -> None:
        """Something happened to one of the keys, or to the connection; called by a thread of kazoo's."""
        self._hint.set()


def _check_key(key: str) -> None:
    if not key.startswith("/") or any(name in ("", ".", "..") or "\0" in name for name in key[1:].split("/")):
        raise UsageError(f"key {key!r}", "it is no path", "use one like /models/yolo/current")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of kazoo become ours."""
    try:
        yield
    except _REFUSALS as e:
        why = "not allowed" if isinstance(e, NoAuthError) else "ZooKeeper does not take user and password"
        raise UsageError(what, why, "see username, password_file and the ACL of the znode") from e
    except KazooTimeoutError as e:
        raise UnavailableError(what, "no answer in time", "see whether ZooKeeper has a quorum") from e
    except KazooException as e:
        why = f"the connection was lost ({type(e).__name__})"
        raise UnavailableError(what, why, "see whether ZooKeeper runs there and has a quorum") from e
