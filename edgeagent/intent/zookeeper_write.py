# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing to ZooKeeper: one transaction on what was just read, again when something came between.

A transaction can demand a znode's count of writings (`version`), not when it was created; a znode that was deleted
and made anew starts to count at 0 again. So whoever makes a key under a lease also writes the folder above it, and
whoever demands `created` demands that folder's count, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from posixpath import dirname
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from edgeagent.errors import UnavailableError
from edgeagent.intent.port import ABSENT, Expected, Outcome
from edgeagent.intent.zookeeper_session import Session

_ATTEMPTS = 20
_LOST = (ConnectionLoss, SessionExpiredError, OperationTimeoutError, KazooTimeoutError)
_CHANGED = (BadVersionError, NodeExistsError, NoNodeError, NotEmptyError)
_NOT_THE_CAUSE = (RolledBackError, RuntimeInconsistency)  # what the others of a failed transaction say


class Writer:
    """Writes in a session. owner: its number, where what is written belongs to it (a lease), else 0."""

    def __init__(self, session: Session, owner: int = 0) -> None:
        self._session = session
        self._owner = owner

    def write(
        self, expected: Sequence[Expected], writes: Mapping[str, bytes | None], *, stamp: bool
    ) -> Outcome:
        """All of `writes` or nothing. stamp: also write the folder of a key that is made under a lease.

        Raises KazooException where nothing was written, UnavailableError.
        """
        self._session.read([])  # says what is wrong with the server or the chroot
        for _ in range(_ATTEMPTS):
            outcome = self._attempt(expected, writes, stamp)
            if outcome is not None:
                return outcome
        raise UnavailableError(f"writing {', '.join(writes)}", "others write it all the time", "try again")

    def _attempt(
        self, expected: Sequence[Expected], writes: Mapping[str, bytes | None], stamp: bool
    ) -> Outcome | None:
        """None: something came between."""
        client = self._session.client()
        folders = {
            dirname(e.key): self._about(client, dirname(e.key)) for e in expected if e.created is not None
        }
        about = {key: self._about(client, key) for key in {e.key for e in expected} | writes.keys()}
        if not all(_meets(about[e.key], e) for e in expected):
            return Outcome.REFUSED
        transaction = client.transaction()
        for folder, stat in folders.items():
            if stat:
                transaction.check(folder, stat.version)
        for e in expected:
            if e.key not in writes:
                self._demand(client, transaction, e.key, about[e.key])
        for key, value in writes.items():
            self._change(client, transaction, key, value, about[key])
            if stamp and self._owner and about[key] is None and value is not None:
                transaction.set_data(
                    dirname(key), self._session.answer(client.get_async(dirname(key)))[0] or b""
                )
        return self._commit(transaction)

    def _about(self, client: KazooClient, key: str) -> Any:
        """Its ZnodeStat, None if it doesn't exist."""
        return self._session.answer(client.exists_async(key))

    def _demand(self, client: KazooClient, transaction: Any, key: str, stat: Any) -> None:
        if stat:
            transaction.check(key, stat.version)
        else:  # there is no demand that something doesn't exist; but what does can't be created
            self._make_folder(client, dirname(key))
            transaction.create(key, b"", self._acl(client, dirname(key)))
            transaction.delete(key)

    def _change(
        self, client: KazooClient, transaction: Any, key: str, value: bytes | None, stat: Any
    ) -> None:
        if value is None:
            if stat:
                transaction.delete(key, stat.version)
            else:
                self._demand(client, transaction, key, stat)
            return
        if stat and stat.ephemeralOwner == self._owner:
            transaction.set_data(key, value, stat.version)
            return
        if stat:
            transaction.delete(key, stat.version)
        self._make_folder(client, dirname(key))
        transaction.create(key, value, self._acl(client, dirname(key)), ephemeral=bool(self._owner))

    def _make_folder(self, client: KazooClient, path: str) -> None:
        if self._about(client, path):
            return
        self._make_folder(client, dirname(path))
        try:
            self._session.answer(client.create_async(path, b"", self._acl(client, dirname(path))))
        except NodeExistsError:
            return

    def _acl(self, client: KazooClient, folder: str) -> Any:
        """The folder's, which ZooKeeper doesn't pass on by itself; None (kazoo's default) where it can't be read."""
        try:
            return self._session.answer(client.get_acls_async(folder))[0]
        except (NoAuthError, NoNodeError):
            return None

    def _commit(self, transaction: Any) -> Outcome | None:
        try:
            answers = self._session.answer(transaction.commit_async())
        except _LOST:
            return Outcome.UNKNOWN
        causes = [a for a in answers if isinstance(a, Exception) and not isinstance(a, _NOT_THE_CAUSE)]
        if not causes:
            return Outcome.WRITTEN
        if isinstance(causes[0], _CHANGED):
            return None
        raise causes[0]


def _meets(stat: Any, expected: Expected) -> bool:
    revision, created = (str(stat.mzxid), str(stat.czxid)) if stat else (ABSENT, "")
    return expected.revision in (None, revision) and expected.created in (None, created)
