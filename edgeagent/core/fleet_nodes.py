# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every model on every node of a fleet, from what the nodes wrote into the config store: their presence, which vanishes
with them, and their reports, which stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent.core.fleet_report import Report
from edgeagent.core.model import is_name, parse_json
from edgeagent.core.text import clean

_MAX_PRESENCE_BYTES = 64 * 1024
_MAX_WORD = 128


@dataclass(frozen=True)
class Node:
    """One model on one node.

    present: its presence is there; without one it is silent: off, or away from the config store. version, digest,
    state: of what serves, "" where that isn't known. held: why it doesn't follow the fleet, such as "rollback to v1",
    "" while it does. conflict: another process has the same node id. report: None for a node that writes none (of an
    earlier release).
    """

    node: str
    model: str
    present: bool
    version: str = ""
    digest: str = ""
    state: str = ""
    held: str = ""
    conflict: bool = False
    report: Report | None = None


@dataclass(frozen=True)
class Nodes:
    """All of them, by model and node. idle: nodes that are there without a model, or whose presence says nothing."""

    rows: tuple[Node, ...]
    idle: tuple[str, ...] = ()


def nodes_of(presence: Mapping[str, bytes], reports: Mapping[str, Mapping[str, Report]]) -> Nodes:
    """The fleet. presence: the values of the nodes' keys, untrusted, by node; reports: by model and node."""
    there = {node: _said(value) for node, value in presence.items()}
    pairs = {(model, node) for node, said in there.items() for model in said.models}
    pairs |= {(model, node) for model, of in reports.items() for node in of}
    rows = [
        _row(node, model, there.get(node), reports.get(model, {}).get(node)) for model, node in sorted(pairs)
    ]
    return Nodes(tuple(rows), tuple(sorted(set(there) - {row.node for row in rows})))


def only(nodes: Nodes, model: str) -> Nodes:
    """The rows of one model, "" for all."""
    return Nodes(tuple(row for row in nodes.rows if row.model == model)) if model else nodes


def tells_all_models(value: bytes) -> bool:
    """Whether a presence, untrusted, has found place for each model of its node."""
    doc = _presence(value)
    return isinstance(doc, dict) and isinstance(doc.get("models"), dict) and doc.get("left_out", 0) == 0


def _row(node: str, model: str, presence: _Said | None, report: Report | None) -> Node:
    said = presence.models.get(model, {}) if presence else {}
    active, held = _object(said, "active"), _object(said, "held")
    if report is None:
        version, digest, state = _word(active, "version"), _word(active, "digest"), _word(said, "state")
    else:
        version, digest, state = report.version, report.digest, report.state
    holds = f"{_word(held, 'kind')} to {_word(held, 'version')}" if held else ""
    conflict = presence is not None and presence.conflict
    return Node(node, model, presence is not None, version, digest, state, holds, conflict, report)


@dataclass(frozen=True)
class _Said:
    """By a presence, as far as it can be understood."""

    models: Mapping[str, Mapping[str, Any]]
    conflict: bool


def _said(value: bytes) -> _Said:
    found = _presence(value)
    doc = found if isinstance(found, dict) else {}
    models = _object(doc, "models")
    named = {name: said for name, said in models.items() if is_name(name) and isinstance(said, dict)}
    return _Said(named, doc.get("conflict") is True)


def _presence(value: bytes) -> Any:
    """The JSON value, None where it is none."""
    try:
        return parse_json(value.decode("utf-8")) if len(value) <= _MAX_PRESENCE_BYTES else None
    except (ValueError, RecursionError):
        return None


def _object(doc: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = doc.get(name)
    return value if isinstance(value, dict) else {}


def _word(doc: Mapping[str, Any], name: str) -> str:
    value = doc.get(name)
    return clean(value, _MAX_WORD) if isinstance(value, str) else ""
