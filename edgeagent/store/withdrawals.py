# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions that no node is to take up any more: who serves one already goes on, and says so.

It stays withdrawn when its files were removed, and its name is not given to another version.
"""

from __future__ import annotations

from typing import Protocol

from edgeagent.core.store_documents import (
    WITHDRAWN,
    Withdrawal,
    encode,
    parse_withdrawal,
    withdrawal_path,
)
from edgeagent.errors import ConflictError, NotFoundError
from edgeagent.store.remote import RemoteStore


class Asked(Protocol):
    """What is asked of a model store (store/remote.py)."""

    def read_withdrawal(self, model: str, version: str) -> bytes | None:
        """The bytes of the withdrawal; None if there is none. Raises UnavailableError."""


def find_withdrawal(store: Asked, model: str, version: str) -> Withdrawal | None:
    """Why and by whom the version was withdrawn; None if it wasn't. Raises UnavailableError."""
    data = store.read_withdrawal(model, version)
    return None if data is None else parse_withdrawal(data, model, version)


def refuse_withdrawn(store: Asked, model: str, version: str) -> None:
    """Raises ConflictError for a version that was withdrawn, UnavailableError."""
    if found := find_withdrawal(store, model, version):
        todo = f"take another version, or lift it with edgeagent yank {model} {version} --undo"
        raise ConflictError(f"version {model}/{version}", f"withdrawn: {found}", todo)


def withdrawals(store: RemoteStore, model: str) -> dict[str, Withdrawal]:
    """Of all versions of a model, also of those that were removed. Raises UnavailableError, IntegrityError."""
    found = {v: find_withdrawal(store, model, v) for v in store.documents(f"{model}/{WITHDRAWN}")}
    return {version: withdrawal for version, withdrawal in found.items() if withdrawal}


def withdraw(store: RemoteStore, model: str, version: str, withdrawal: Withdrawal) -> None:
    """Have no node take this version up any more.

    Raises NotFoundError (no such version), ConflictError (it is withdrawn already, and stays so for the reason that was
    given then), UsageError (a read-only store), UnavailableError.
    """
    if not store.has_version(model, version):
        raise NotFoundError(
            f"version {model}/{version}", f"not in the store {store.name}", "edgeagent versions lists them"
        )
    try:
        store.put_once(withdrawal_path(model, version), encode(withdrawal))
    except ConflictError as e:
        before = find_withdrawal(store, model, version)
        why = f"is withdrawn already: {before}" if before else "was withdrawn, and let in again just now"
        raise ConflictError(f"version {model}/{version}", why) from e


def let_in(store: RemoteStore, model: str, version: str) -> Withdrawal:
    """Let nodes take it up again. Returns what kept them from it.

    Raises ConflictError (it isn't withdrawn), UsageError (a read-only store), UnavailableError.
    """
    before = find_withdrawal(store, model, version)
    if before is None:
        raise ConflictError(f"version {model}/{version}", f"is not withdrawn in the store {store.name}")
    store.remove(withdrawal_path(model, version))
    return before
