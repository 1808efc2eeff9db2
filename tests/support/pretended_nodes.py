# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nodes that only say what real ones would: presence, and a report each time that they have acted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgeagent.core.directive import current_key, decode_directive
from edgeagent.core.fleet_report import Phase, Report, encode_report, report_key
from edgeagent.core.rollout import FOLLOWED, Rollout, is_in, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.fleet.presence import presence_key
from edgeagent.intent.port import KeyValueStore, Lease


class PretendedNodes:
    """Nodes that use one model. They act when they are told to, at once and all of them.

    becomes: what a version comes to on a node, by the node's name and the version; it is STABLE by default. lease_s: of
    their presence. present: those that are there; the others neither write nor act, and once `leave` was called their
    presence is gone, too.
    """

    def __init__(
        self, store: KeyValueStore, model: str, names: Iterable[str], *, lease_s: float = 3600.0
    ) -> None:
        self.names = tuple(names)
        self.present = set(self.names)
        self.becomes: Callable[[str, str], Phase] = lambda node, version: Phase.STABLE
        self._store = store
        self._model = model
        self._lease_s = lease_s
        self._leases: dict[str, Lease] = {}
        self._said: dict[str, Report] = {}

    def act(self) -> None:
        """Each does what the keys say now, and reports it."""
        entry = self._store.get(rollout_key(self._model))
        rollout = decode_rollout(entry.key, entry.value) if entry.value else None
        current = self._store.get(current_key(self._model))
        version = decode_directive(current.key, current.value or b"", current.revision).version
        for node in sorted(self.present):
            if node not in self._leases:
                self._leases[node] = self._store.lease(self._lease_s)
                self._store.put(presence_key(node), b"{}", self._leases[node])
            self._say(node, self._report(node, rollout, version))

    def leave(self, node: str) -> None:
        """Its presence vanishes; what it said last stays."""
        self.present.discard(node)
        self._leases.pop(node).revoke()

    def serving(self) -> dict[str, str]:
        """The version that each serves."""
        return {node: report.version for node, report in self._said.items()}

    def _report(self, node: str, rollout: Rollout | None, current: str) -> Report:
        said = self._said.get(node, Report())
        if rollout is None or rollout.status not in FOLLOWED or not is_in(rollout, node, {}):
            return Report(version=current, state="STABLE", rollout=said.rollout, phase=Phase.NONE)
        phase = self.becomes(node, rollout.plan.version)
        serves = phase in (Phase.SWAPPED, Phase.STABLE)
        version = rollout.plan.version if serves else rollout.plan.came_from
        return Report(version=version, state="STABLE", rollout=rollout.id, phase=phase)

    def _say(self, node: str, report: Report) -> None:
        if self._said.get(node) != report:
            self._store.put(report_key(node, self._model), encode_report(report))
            self._said[node] = report
