# SPDX-License-Identifier: AGPL-3.0-or-later
"""A snapshot: what every node of a fleet served at a time, to go back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent.core.model import check_name
from edgeagent.core.state import VersionRef
from edgeagent.core.store_documents import SNAPSHOTS, is_digest, read_object, read_text, to_bytes
from edgeagent.errors import IntegrityError, UsageError

MAX_SNAPSHOT_BYTES = 16 << 20
"""Of 2,000 nodes with 50 models each."""
_TODO = "take another snapshot, or remove this one from the store"

Served = Mapping[str, Mapping[str, VersionRef]]
"""By node and model. A digest is "" where it wasn't known."""


@dataclass(frozen=True)
class Snapshot:
    """What every node served. at: ISO 8601, UTC; by: who asked for it."""

    name: str
    at: str
    by: str
    nodes: Served


def snapshot_path(name: str) -> str:
    """Where a snapshot stands in the store. Raises UsageError."""
    return f"{SNAPSHOTS}/{check_name('snapshot', name)}.json"


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """As it is to be written. Raises UsageError for what `parse_snapshot` would not take."""
    nodes = {
        node: {m: {"version": ref.version, "digest": ref.digest} for m, ref in sorted(models.items())}
        for node, models in sorted(snapshot.nodes.items())
    }
    data = to_bytes({"name": snapshot.name, "at": snapshot.at, "by": snapshot.by, "nodes": nodes})
    try:
        parse_snapshot(data, snapshot.name)
    except IntegrityError as e:
        raise UsageError(f"snapshot {snapshot.name}", e.why, "take it of fewer nodes, or repair these") from e
    return data


def parse_snapshot(data: bytes, name: str) -> Snapshot:
    """Parse an untrusted snapshot that was found under this name. Raises IntegrityError; never a part of one."""
    where = f"snapshot {name}"
    doc = read_object(data, where, _TODO, MAX_SNAPSHOT_BYTES)
    if doc.get("name") != name:
        raise IntegrityError(where, "it is that of another name", _TODO)
    found = doc.get("nodes")
    if not isinstance(found, dict):
        raise IntegrityError(where, "its nodes are no object", _TODO)
    try:
        nodes = {check_name("node", node): _models(models) for node, models in found.items()}
    except UsageError as e:
        raise IntegrityError(where, f"{e.what} is {e.why}", _TODO) from e
    except ValueError as e:
        raise IntegrityError(where, str(e), _TODO) from e
    return Snapshot(name, read_text(doc, "at", where, _TODO, 64), read_text(doc, "by", where, _TODO), nodes)


def _models(value: Any) -> dict[str, VersionRef]:
    if not isinstance(value, dict):
        raise ValueError("what a node serves is no object")
    return {check_name("model", model): _ref(ref) for model, ref in value.items()}


def _ref(value: Any) -> VersionRef:
    if not isinstance(value, dict):
        raise ValueError("what serves is no object with version and digest")
    version, digest = check_name("version", value.get("version")), value.get("digest")
    if digest != "" and not is_digest(digest):
        raise ValueError(f"the digest of {version} is not sha256: and 64 hex digits")
    return VersionRef(version, str(digest))
