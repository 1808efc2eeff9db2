# SPDX-License-Identifier: AGPL-3.0-or-later
"""Snapshots of a fleet in the model store: written once, never changed."""

from __future__ import annotations

from edgeagent.core.snapshot import (
    MAX_SNAPSHOT_BYTES,
    Snapshot,
    encode_snapshot,
    parse_snapshot,
    snapshot_path,
)
from edgeagent.core.store_documents import SNAPSHOTS
from edgeagent.errors import ConflictError, NotFoundError
from edgeagent.store.remote import RemoteStore


def write_snapshot(store: RemoteStore, snapshot: Snapshot) -> None:
    """Put a snapshot into the store, under its name.

    Raises ConflictError (there is one of this name), UsageError (names, a read-only store), UnavailableError.
    """
    data = encode_snapshot(snapshot)
    store.prepare_to_publish()
    try:
        store.put_once(snapshot_path(snapshot.name), data)
    except ConflictError as e:
        why = f"exists already in the store {store.name}"
        raise ConflictError(f"snapshot {snapshot.name}", why, "give it another name") from e


def read_snapshot(store: RemoteStore, name: str) -> Snapshot:
    """The snapshot of this name. Raises NotFoundError, IntegrityError, UsageError (names), UnavailableError."""
    data = store.read(snapshot_path(name), MAX_SNAPSHOT_BYTES)
    if data is None:
        why = f"not in the store {store.name}"
        raise NotFoundError(f"snapshot {name}", why, "look into its folder _snapshots")
    return parse_snapshot(data, name)


def snapshot_names(store: RemoteStore) -> list[str]:
    """What snapshots there are, sorted; a web server must list its folders for that. Raises UnavailableError,
    IntegrityError for too many of them."""
    return store.documents(SNAPSHOTS)
