# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of its sources of intent."""

from __future__ import annotations

from collections.abc import Iterable

from edgeagent.core.text import redact
from edgeagent.intent.port import Connection
from edgeagent.intent.url import find_adapter
from edgeagent.intent.watched_source import WatchedSource
from edgeagent.status.schema import ConfigStoreStatus, IntentSourceStatus


def config_store_status(url: str, connection: Connection, conflict: str) -> ConfigStoreStatus:
    """The config store. conflict: what is wrong with this node's id there, "" for nothing."""
    why = "; ".join(text for text in (connection.why, conflict) if text)
    return ConfigStoreStatus(url=redact(url), connected=connection.connected, why=why or None)


def source_statuses(sources: Iterable[WatchedSource]) -> list[IntentSourceStatus]:
    """Each source, in the order in which they decide."""
    return [
        IntentSourceStatus(
            url=redact(s.source.url),
            connected=s.connection.connected,
            why=s.connection.why or None,
            kind=find_adapter(s.source.url).kind,
            decides=sorted(s.decides),
        )
        for s in sources
    ]
