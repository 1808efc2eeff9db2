# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is in the fleet: what the nodes say of themselves in a config store, read as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from edgeagent.core.fleet_nodes import Nodes, nodes_of
from edgeagent.core.fleet_report import REPORTS, Report, decode_report, node_and_model
from edgeagent.core.rollout_view import Fleet, Member
from edgeagent.errors import RolloutError
from edgeagent.fleet.presence import NODES
from edgeagent.intent.port import Entry, KeyValueStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Members:
    """Every node that has said something of itself.

    presence: by node, the key that is there while the node lives; its value is untrusted. reports: by model and node.
    """

    presence: Mapping[str, Entry]
    reports: Mapping[str, Mapping[str, Report]]

    def fleet(self, model: str, current_revision: str) -> Fleet:
        """The nodes that have a report on the model; current_revision: of its `current`."""
        reports = self.reports.get(model, {})
        members = {node: Member(node in self.presence, report) for node, report in reports.items()}
        return Fleet(members, current_revision)

    def nodes(self) -> Nodes:
        """All models on all nodes."""
        return nodes_of({node: entry.value or b"" for node, entry in self.presence.items()}, self.reports)


class MemberReader:
    """Reads the members, time and again. For one thread.

    A report that can't be understood is logged once for each writing, and its node has none then.
    """

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._decoded: dict[str, tuple[str, Report | None]] = {}  # by key: revision, and what it says

    def read(self) -> Members:
        """All members as they are now. Raises UnavailableError; UsageError where the store refuses the user."""
        # The reports first: a node that comes back writes its presence before its report, and would be taken for one
        # that vanished with the version if its presence were read before, and its report after that.
        entries = self._store.list(REPORTS)
        presence = {e.key.removeprefix(NODES): e for e in self._store.list(NODES)}
        self._decoded = {e.key: self._decode(e) for e in entries}
        reports: dict[str, dict[str, Report]] = {}
        for key, (_, report) in self._decoded.items():
            names = node_and_model(key)
            if names and report is not None:
                node, model = names
                reports.setdefault(model, {})[node] = report
        return Members(presence, reports)

    def _decode(self, entry: Entry) -> tuple[str, Report | None]:
        """Decoded once for each writing: of a large fleet, that costs more than the reading."""
        known = self._decoded.get(entry.key)
        if known and known[0] == entry.revision:
            return known
        try:
            return entry.revision, decode_report(entry.key, entry.value or b"")
        except RolloutError as e:
            log.warning("report.broken", key=entry.key, why=str(e))
            return entry.revision, None
