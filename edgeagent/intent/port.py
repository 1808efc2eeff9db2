# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port to a config store: where the operator's wishes are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """One key as it stands. `value` is untrusted bytes; None when the key doesn't exist (any more).

    revision: changes with each writing of the key, also when the value stays the same.
    """

    key: str
    value: bytes | None
    revision: str


@dataclass(frozen=True)
class Connection:
    """Whether the config store can be reached, and why not."""

    connected: bool
    why: str = ""


OnEntry = Callable[[Entry], None]
OnConnection = Callable[[Connection], None]


class Watch(Protocol):
    """A running watch."""

    def close(self) -> None:
        """Stop; returns when no callback will be called any more. Idempotent."""


class ConfigStore(Protocol):
    """A key-value store with change notification. Thread-safe.

    Adapters translate every foreign error to UnavailableError (worth another try) or UsageError (it is not).
    """

    url: str

    def get(self, key: str) -> Entry:
        """Read one key. Raises UnavailableError."""

    def put(self, key: str, value: bytes) -> None:
        """Write one key, durably. Raises UnavailableError."""

    def announce(self, key: str, value: bytes, ttl_s: float) -> None:
        """Write a key that vanishes unless announced again within `ttl_s` seconds (presence).

        Raises UnavailableError. A store without leases does nothing.
        """

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        """Report each key as it stands now, and again after each change, for ever.

        Level-triggered: intermediate values may be skipped, the last one never is; the same revision is
        reported once. Returns at once; the callbacks come from a thread of the adapter's, one at a time.
        While the store can't be reached the watch keeps trying and says so through `on_connection`
        (called on each change of that, and once at the start).
        """

    def close(self) -> None:
        """Free what the store holds. Idempotent."""
