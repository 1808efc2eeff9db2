# SPDX-License-Identifier: AGPL-3.0-or-later
"""Metrics of the alarms of a node."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge

from edgeagent.core.alarms import SEVERITIES, Alarm, AlarmState

STATES: tuple[AlarmState, ...] = ("raised", "acknowledged", "shelved")


class AlarmMetrics:
    """`edgeagent_alarms` and `edgeagent_alarm_raised_total`, on the registry of the node's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alarms = Gauge(
            "edgeagent_alarms",
            "Alarms that are not over, by what they are and who has taken notice.",
            ["severity", "state"],
            registry=registry,
        )
        self._raised = Counter(
            "edgeagent_alarm_raised",
            "How often the condition of an alarm came about.",
            ["rule", "severity"],
            registry=registry,
        )
        self._shown: Tally[tuple[str, str]] | None = None

    def show(self, alarms: Iterable[Alarm]) -> None:
        """Those that are not over now."""
        count = Tally((str(a.severity), str(a.state)) for a in alarms)
        if count == self._shown:
            return
        self._shown = count
        for severity, state in product(SEVERITIES, STATES):
            self._alarms.labels(severity, state).set(count[severity, state])

    def raised(self, alarm: Alarm) -> None:
        """Its condition has come about."""
        self._raised.labels(alarm.what.rule, alarm.severity).inc()
