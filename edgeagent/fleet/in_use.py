# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which versions of a model are needed: by the keys of the fleet, by nodes, and by snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeagent.core.directive import current_key, decode_directive, pin_key
from edgeagent.core.fleet_nodes import nodes_of, tells_all_models
from edgeagent.core.fleet_report import REPORTS, Report, decode_report, node_and_model
from edgeagent.core.prune import some
from edgeagent.core.rollout import ENDED
from edgeagent.errors import ConflictError
from edgeagent.fleet.presence import NODES
from edgeagent.fleet.rollout_store import read_rollout
from edgeagent.intent.port import KeyValueStore
from edgeagent.store.remote import RemoteStore
from edgeagent.store.snapshots import read_snapshot, snapshot_names

Needed = Mapping[str, Sequence[str]]
"""By version: by what it is needed."""


def needed_by_fleet(store: KeyValueStore, model: str) -> Needed:
    """What `current`, pins and the roll-out in force name, what nodes serve (silent ones: served last), and what served
    well there before.

    What can't be read might name any version. Raises DirectiveError, RolloutError, ConflictError (a node doesn't say
    what it serves), UnavailableError, UsageError (no right to read).
    """
    needed: dict[str, list[str]] = {}
    entries = [store.get(current_key(model)), *store.list(pin_key(model, ""))]
    for entry in entries:
        if entry.value is not None:
            directive = decode_directive(entry.key, entry.value, entry.revision)
            name = entry.key.removeprefix(f"/models/{model}/").replace("pins/", "pin of ")
            needed.setdefault(directive.version, []).append(name)
    stored = read_rollout(store, model)
    if stored and stored.rollout.status not in ENDED:
        plan = stored.rollout.plan
        for version in (plan.version, plan.came_from):
            needed.setdefault(version, []).append(f"roll-out {stored.rollout.id}")
    for what, nodes in _by_nodes(store, model).items():
        verb, version = what
        needed.setdefault(version, []).append(f"{verb} {some(sorted(nodes))}")
    return needed


def needed_by_snapshots(store: RemoteStore, model: str) -> Needed:
    """What the snapshots in a model store name. Raises IntegrityError for one that can't be read, UnavailableError."""
    needed: dict[str, list[str]] = {}
    for name in snapshot_names(store):
        snapshot = read_snapshot(store, name)
        versions = {models[model].version for models in snapshot.nodes.values() if model in models}
        for version in versions:
            needed.setdefault(version, []).append(f"snapshot {name}")
    return needed


def _by_nodes(store: KeyValueStore, model: str) -> dict[tuple[str, str], set[str]]:
    """By what is said of a version, and the version: the nodes of which it is said. Raises as `needed_by_fleet`."""
    reports: dict[str, Report] = {}
    reporting: set[str] = set()  # nodes that report on each of their models
    for entry in store.list(REPORTS):
        if (names := node_and_model(entry.key)) and entry.value is not None:
            reporting.add(names[0])
            if names[1] == model:
                reports[names[0]] = decode_report(entry.key, entry.value)
    presence = {e.key.removeprefix(NODES): e.value or b"" for e in store.list(NODES)}
    _check_known({node: value for node, value in presence.items() if node not in reporting}, model)
    found: dict[tuple[str, str], set[str]] = {}
    for row in nodes_of(presence, {model: reports}).rows:
        if row.model == model and row.version:
            found.setdefault(("serves on", row.version), set()).add(row.node)
    for node, report in reports.items():
        if report.before:
            found.setdefault(("served before on", report.before), set()).add(node)
    return found


def _check_known(presence: Mapping[str, bytes], model: str) -> None:
    """Raises ConflictError for nodes of earlier releases that may have the model, and don't say so."""
    unknown = sorted(n for n, value in presence.items() if not tells_all_models(value))
    if unknown:
        why = f"{some(unknown)} may have it, and there was no room to say so in their presence"
        raise ConflictError(
            f"what serves {model}", why, "upgrade these nodes: they report on each model then"
        )
