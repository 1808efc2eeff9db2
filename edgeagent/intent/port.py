# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two ports to where the operator's intent is written.

IntentSource: what can be watched (a folder, etcd, ZooKeeper, Kafka). KeyValueStore: what can be read, listed and
written as well, with keys that vanish (leases) and transactions; presence, `promote` and the fleet need one.
Adapters translate every foreign error to UnavailableError (worth another try) or UsageError (it is not).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.util.plain_file import open_plain_file

ABSENT = "absent"
"""Revision of a key that doesn't exist."""


@dataclass(frozen=True)
class Entry:
    """One key as it stands. `value` is untrusted bytes; None when the key doesn't exist (any more).

    revision: changes with each writing of the key, also when the value stays the same; ABSENT without a value.
    created: revision of the writing that brought the key into being; "" without a value, and where a store
    doesn't know it.
    """

    key: str
    value: bytes | None
    revision: str
    created: str = ""


@dataclass(frozen=True)
class Connection:
    """Whether the source can be reached, and why not."""

    connected: bool
    why: str = ""


OnEntry = Callable[[Entry], None]
OnConnection = Callable[[Connection], None]


class Watch(Protocol):
    """A running watch."""

    def close(self) -> None:
        """Stop; returns when no callback will be called any more. Idempotent."""


class IntentSource(Protocol):
    """Keys with change notification. Thread-safe. Nothing connects before it is used."""

    url: str

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        """Report each key as it stands now, and again after each change, for ever.

        Level-triggered: intermediate values may be skipped, the last one never is; the same revision is
        reported once. Returns at once; the callbacks come from a thread of the adapter's, one at a time.
        While the source can't be reached the watch keeps trying and says so through `on_connection`
        (called on each change of that, and once at the start). A key that doesn't exist is reported, too, once
        that is known; silence means that nothing is known yet. Raises UnavailableError after close.

        Keys are reported in the order in which they are given. A store with leases reads them at one instant, or the
        last first: no key is reported as it was before what is reported after it.
        """

    def close(self) -> None:
        """Free what the source holds, and end its watches. Idempotent."""


@runtime_checkable
class Advising(Protocol):
    """A source that looks at how its server is kept, for `doctor`."""

    def advice(self) -> str:
        """What its operator should see to; "" if nothing is known of. Raises UnavailableError."""


class IntentWriter(Protocol):
    """Where intent can be written, which asks for less than a KeyValueStore: Kafka can do that."""

    def put(self, key: str, value: bytes) -> None:
        """Write one key, durably. Raises UnavailableError; UsageError when the value or the user is refused."""

    def close(self) -> None:
        """Free what it holds. Idempotent."""


class Lease(Protocol):
    """Keys that were written under it vanish when it ends. It ends unless it is kept alive.

    In ZooKeeper the process that holds it keeps it alive by living.
    """

    ttl_s: float

    def keep_alive(self) -> bool:
        """Begin its `ttl_s` seconds anew, without writing a key. False: it has ended, and its keys with it.

        Raises UnavailableError when that can't be known now.
        """

    def revoke(self) -> None:
        """End it now. Idempotent. Raises UnavailableError; then it ends by itself."""


@dataclass(frozen=True)
class Expected:
    """What a transaction demands of a key: its revision (ABSENT: that it doesn't exist), and when it was created.

    None: whatever it is.
    """

    key: str
    revision: str | None = None
    created: str | None = None


class Outcome(Enum):
    """What became of a transaction. UNKNOWN: the answer was lost; read before acting on it."""

    WRITTEN = "written"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class KeyValueStore(IntentSource, Protocol):
    """An IntentSource that can be read and written."""

    def get(self, key: str) -> Entry:
        """Read one key as it stands now (linearizable). Raises UnavailableError."""

    def list(self, prefix: str) -> Sequence[Entry]:
        """All keys under `prefix` ("/models/", with the slash), sorted, with their values.

        Raises UnavailableError; UsageError for a prefix that doesn't end with a slash.
        """

    def put(self, key: str, value: bytes, lease: Lease | None = None) -> None:
        """Write one key, durably; under a lease it vanishes with it. Raises UnavailableError."""

    def lease(self, ttl_s: float) -> Lease:
        """A new lease. Raises UnavailableError; UsageError where a store has none."""

    def compare_and_set(
        self, expected: Sequence[Expected], writes: Mapping[str, bytes | None], lease: Lease | None = None
    ) -> Outcome:
        """Write all of `writes` (None deletes the key) in one step if every expectation holds, else none.

        What is written is put under `lease`. Without `writes` it is a check: WRITTEN says that at one instant of the
        call all expectations held; the right to read their keys suffices, but in ZooKeeper for ABSENT.
        Raises UnavailableError only where nothing was written.
        """


def check_prefix(prefix: str) -> None:
    """Raises UsageError for what `KeyValueStore.list` doesn't take."""
    if not prefix.endswith("/"):
        raise UsageError(f"prefix {prefix!r}", "it doesn't end with a slash", "use one like /models/")


@dataclass(frozen=True)
class Tls:
    """Certificates in PEM. ca_file: who is trusted (None: whom the system trusts); the others show who we are."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True)
class Access:
    """How to get into a source: a user whose password is in a file (read anew at each login), TLS (None: without),
    and options of the client, which each adapter documents.
    """

    username: str = ""
    password_file: Path | None = None
    tls: Tls | None = None
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def password(self) -> str:
        """What the file says now. Raises UnavailableError."""
        assert self.password_file is not None
        try:
            with open_plain_file(self.password_file) as file:
                return file.read().decode("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise UnavailableError("config store", f"can't read {self.password_file}: {e}") from e
