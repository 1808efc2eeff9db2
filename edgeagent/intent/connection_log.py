# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log's lines about a source of intent that is lost and comes back."""

from __future__ import annotations

import structlog

from edgeagent.intent.port import Connection

log = structlog.get_logger(__name__)

QUIET_S = 60.0
"""After a loss was said, further ones are only counted for so long."""


class ConnectionLog:
    """Says once that the source at `url` was lost, and once that it is back; one that flaps once a minute."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lost_at: float | None = None
        self._said_at = -QUIET_S
        self._is_said = False
        self._unsaid = 0
        self._warning = ""

    def see(self, connection: Connection, now: float) -> None:
        """To be called every so often, whether anything has changed or not. now: seconds of a monotonic clock."""
        if connection.connected:
            self._see_connected(connection.why, now)
        else:
            self._see_lost(connection.why, now)

    def _see_lost(self, why: str, now: float) -> None:
        if self._lost_at is None:
            self._lost_at = now
        if not self._is_said and now - self._said_at >= QUIET_S:
            also = {"losses_before": self._unsaid} if self._unsaid else {}
            log.warning("intent_source.lost", intent_source=self._url, why=why, **also)
            self._is_said, self._said_at, self._unsaid = True, now, 0

    def _see_connected(self, warning: str, now: float) -> None:
        if self._lost_at is not None:
            if self._is_said:
                after_s = round(now - self._lost_at, 1)
                log.info("intent_source.returned", intent_source=self._url, after_s=after_s)
            self._unsaid += not self._is_said
            self._lost_at, self._is_said = None, False
        if warning and warning != self._warning:
            log.warning("intent_source.warned", intent_source=self._url, why=warning)
        self._warning = warning
