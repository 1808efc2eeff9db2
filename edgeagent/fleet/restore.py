# SPDX-License-Identifier: AGPL-3.0-or-later
"""Snapshots of a fleet: what every node serves, and the way back to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeagent.core.directive import Directive, current_key, decode_directive, encode_directive, pin_key
from edgeagent.core.fleet_nodes import Nodes
from edgeagent.core.restore import Return, returns_of
from edgeagent.core.rollout import ENDED, Limits, Plan
from edgeagent.core.snapshot import Served, Snapshot
from edgeagent.core.state import VersionRef
from edgeagent.core.store_documents import is_digest
from edgeagent.errors import ConflictError
from edgeagent.fleet.rollout_start import Start, prepare_rollout, read_pins
from edgeagent.fleet.rollout_store import read_rollout, under_way
from edgeagent.intent.port import KeyValueStore
from edgeagent.store.remote import RemoteStore
from edgeagent.store.tags import resolve


@dataclass(frozen=True)
class ModelRestore:
    """One model's way back; nothing of it is written yet. start: None where `current` says the target already."""

    back: Return
    start: Start | None


def served_by(nodes: Nodes) -> Served:
    """What every node serves, or served when it was last heard of."""
    served: dict[str, dict[str, VersionRef]] = {}
    for row in nodes.rows:
        if row.version:
            digest = row.digest if is_digest(row.digest) else ""
            served.setdefault(row.node, {})[row.model] = VersionRef(row.version, digest)
    return served


def prepare_restore(
    store: KeyValueStore,
    models: RemoteStore,
    snapshot: Snapshot,
    plan_of: Callable[[str], Plan],
    limits: Limits,
    with_pins: bool,
) -> list[ModelRestore]:
    """Look whether the fleet can be brought back. plan_of: the plan for a version; with_pins: whether pins are to be
    written.

    Raises NotFoundError or ConflictError (a version is not in the model store any more, was withdrawn, or is another
    content now; a roll-out is under way), UsageError, DirectiveError, RolloutError, IntegrityError, UnavailableError.
    """
    names = sorted({model for served in snapshot.nodes.values() for model in served})
    current = {model: version for model in names if (version := _current(store, model))}
    found = []
    for back in returns_of(snapshot, current, {model: read_pins(store, model) for model in names}):
        for ref in {back.target, *(back.pins.values() if with_pins else ())}:
            _check_content(models, back.model, ref)
        is_there = current.get(back.model) == back.target.version
        if is_there and (seen := read_rollout(store, back.model)) and seen.rollout.status not in ENDED:
            raise under_way(back.model, seen.rollout)  # which may have nodes on something else than `current`
        start = None if is_there else prepare_rollout(store, back.model, plan_of(back.target.version), limits)
        found.append(ModelRestore(back, start))
    return found


def write_pins(
    store: KeyValueStore, model: str, pins: Mapping[str, VersionRef], by: str, reason: str
) -> None:
    """Pin each node to its version. Raises UnavailableError, UsageError (no right to write)."""
    for node, ref in pins.items():
        store.put(pin_key(model, node), encode_directive(Directive(ref.version, by=by, reason=reason)))


def _current(store: KeyValueStore, model: str) -> str:
    """What is to serve by `current`, "" where it says nothing of that. Raises DirectiveError, UnavailableError,
    UsageError."""
    entry = store.get(current_key(model))
    if entry.value is None:
        return ""
    directive = decode_directive(entry.key, entry.value, entry.revision)
    return "" if directive.preload else directive.version


def _check_content(models: RemoteStore, model: str, ref: VersionRef) -> None:
    """Raises ConflictError where the store has another content by that name, and what `resolve` raises."""
    found = resolve(models, model, ref.version)
    if ref.digest and found.digest != ref.digest:
        raise ConflictError(
            f"version {model}/{ref.version}",
            f"nodes served {ref.digest} by that name, and the store holds {found.digest}",
            "publish what they served under a name of its own, and roll that out",
        )
